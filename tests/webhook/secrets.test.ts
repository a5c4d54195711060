import { expect, test } from 'bun:test';
import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { keys } from '../../src/bus/keys.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { standardSecret } from '../../src/webhook/signature.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { startReceiver, startWebhookPlane } from './plane.ts';

test.each(ENGINES)('secrets are in no log, event, error or row, whatever happens, on %s', async (engine) => {
  const lines: string[] = [];
  const log = createLog('debug', (line) => lines.push(line));
  const hooks = await startWebhookPlane(engine, { DECNET_WEBHOOK_CIRCUIT_THRESHOLD: '2' }, { log });
  const receiver = startReceiver();
  try {
    const first = 'the first secret words of an operator';
    const second = 'the second secret words of an operator';
    // The receiver shows what it was sent: its answers are stored.
    receiver.answer = ({ headers, text }) => new Response(JSON.stringify({ headers, text }), { status: 500 });
    const { uuid } = await hooks.subscribe(receiver, { secret: first, concurrency: 1 });
    const answers = [
      await hooks.call('POST', '/webhooks/', { name: 'bad', url: 'ftp://h/', secret: first, topic_patterns: ['>'] }),
      await hooks.call('POST', '/webhooks/', { name: 'bad', url: receiver.url, secret: [first] }),
      await hooks.call('PATCH', `/webhooks/${uuid}`, { secret: second }),
      await hooks.call('PATCH', `/webhooks/${uuid}`, { secret: second, concurrency: 99 }),
    ];
    const rotated = await hooks.call('POST', `/webhooks/${uuid}/rotate-secret`, { grace_seconds: 60 });
    const { secret: third }: { secret: string } = JSON.parse(await rotated.text());
    await hooks.publish('attacker.scored', 3);
    await until('the breaker', async () => (await hooks.look(uuid)).breaker.state === 'open');
    answers.push(
      await hooks.call('POST', `/webhooks/${uuid}/test`),
      await hooks.call('GET', `/webhooks/${uuid}/deliveries/1`),
      await hooks.call('POST', `/webhooks/${uuid}/preview`, {}),
      await hooks.call('GET', '/webhooks/'),
    );
    const { db } = hooks.plane.database;
    const redis = hooks.plane.redis.client();
    const read = async () =>
      JSON.stringify([
        await redis.xrange(keys.stream(LOG_CHANNEL), '-', '+'),
        await db.selectFrom('webhook_subscriptions').selectAll().execute(),
        await db.selectFrom('webhook_attempts').selectAll().execute(),
        await db.selectFrom('outbox').selectAll().execute(),
      ]);
    const told = await until('the event of the breaker', async () => {
      const all = await read();
      return all.includes(`system.webhook.${uuid}.breaker`) ? all : undefined;
    });
    const everything = [told, ...lines, ...(await Promise.all(answers.map((answer) => answer.text())))].join('\n');
    for (const secret of [first, second, third]) {
      expect(everything).not.toContain(secret);
      expect(everything).not.toContain(standardSecret(secret).slice('whsec_'.length));
    }
  } finally {
    await hooks.stop();
    await receiver.stop();
  }
});

test.each([
  'http://127.0.0.1:9999/',
  'http://2130706433/',
  'http://0x7f.1/',
  'http://169.254.169.254/latest/meta-data/',
  'http://[::ffff:10.0.0.1]/',
  'http://[64:ff9b::7f00:1]/',
  'http://100.64.0.1/',
  'http://localhost/',
])('%s is refused when it is saved', async (url) => {
  const hooks = await startWebhookPlane('sqlite', { DECNET_WEBHOOK_ALLOW_PRIVATE: 'false' });
  try {
    const wanted = { name: 'inside', url, topic_patterns: ['>'] };
    const response = await hooks.call('POST', '/webhooks/', wanted);
    expect([response.status, await response.text()]).toEqual([422, expect.stringContaining('forbidden')]);
    expect(await (await hooks.call('GET', '/webhooks/')).json()).toEqual([]);
  } finally {
    await hooks.stop();
  }
});
