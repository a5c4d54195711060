import { afterAll, beforeAll, expect, test } from 'bun:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { until } from '../support/until.ts';
import { type Receiver, startReceiver, startWebhookPlane, type WebhookPlane } from '../webhook/plane.ts';
import { Caller } from './support.ts';

let hooks: WebhookPlane;
let receiver: Receiver;
let caller: Caller;

beforeAll(async () => {
  hooks = await startWebhookPlane('sqlite');
  receiver = startReceiver();
  caller = await Caller.create({ DECNET_URL: hooks.url, DECNET_TOKEN: hooks.token });
});
afterAll(async () => {
  await caller.stop();
  await hooks.stop();
  await receiver.stop();
});

const json = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

test('dead letters are seen, sent again and given up, by name', async () => {
  receiver.answer = () => new Response('\u001b[31mno', { status: 403 });
  const { uuid } = await hooks.subscribe(receiver, { name: 'siem' });
  const ids = await hooks.publish('attacker.scored', 4);
  await until('dead letters', async () => (await hooks.look(uuid)).stats.dead === 4);

  expect((await caller.run(['webhooks', 'list'])).out).toMatch(/siem +closed +0 +0 +4 /);
  const listed = await caller.run(['webhooks', 'dead', 'siem', '--json']);
  expect(
    json(listed.out)
      .map(({ event_id }) => event_id)
      .sort(),
  ).toEqual([...ids].sort());
  const [{ seq }] = json(listed.out);
  const one = await caller.run(['webhooks', 'dead', 'siem', String(seq)]);
  expect(one.out).toContain('non-retryable 403');
  expect(one.out).not.toContain('\u001b');
  expect((await caller.run(['webhooks', 'test', 'siem'])).code).toBe(EXIT_CODES.failed.code);

  receiver.answer = () => new Response('ok');
  expect((await caller.run(['webhooks', 'test', 'siem'])).out).toBe('delivered (HTTP 200)\n');
  expect((await caller.run(['webhooks', 'drop', 'siem', String(seq)])).out).toBe('1 are gone\n');
  expect((await caller.run(['webhooks', 'redeliver', 'siem', `${seq}-${seq + 1}`])).out).toBe(
    '1 are delivered again\n',
  );
  expect((await caller.run(['webhooks', 'redeliver', 'siem', '--all', '--json'])).out).toBe('{"redelivered":2}\n');
  await until('the deliveries', async () => (await hooks.look(uuid)).stats.delivered === 3);
  const delivered = await caller.run(['webhooks', 'deliveries', 'siem', '--state', 'delivered', '--json']);
  expect(json(delivered.out)).toHaveLength(3);
});

test('one that is behind, or has lost dead letters, is seen in the list', async () => {
  const { uuid } = await hooks.subscribe(receiver, { name: 'full', topic_patterns: ['canary.>'], enabled: false });
  const behind = JSON.stringify({
    epoch: 'e',
    offset: 7,
    proof: 'p',
    reached: '{}',
    since: '2026-11-21T12:00:00.000Z',
  });
  await hooks.plane.database.db
    .updateTable('webhook_subscriptions')
    .set({ behind, dropped: 3 })
    .where('uuid', '=', uuid)
    .execute();
  expect((await caller.run(['webhooks', 'list'])).out).toMatch(/full +disabled +0 +0\+ +0 \(-3\) /);
  const [shown] = json((await caller.run(['webhooks', 'list', '--json'])).out).filter(({ name }) => name === 'full');
  expect(shown).toMatchObject({
    behind: { since: '2026-11-21T12:00:00.000Z', log_offset: 7 },
    stats: { dead_dropped: 3, pending_bytes: 0, dead_bytes: 0 },
  });
});

test('deliveries are followed as they come', async () => {
  receiver.answer = () => new Response('ok');
  await hooks.subscribe(receiver, { name: 'followed', topic_patterns: ['canary.>'] });
  const [first] = await hooks.publish('canary.a.triggered', 1);
  const following = caller.start(['webhooks', 'deliveries', 'followed', '--follow', '--json']);
  expect(JSON.parse((await following.untilLines(1))[0] ?? '')).toMatchObject({ event_id: first });
  const [second] = await hooks.publish('canary.a.triggered', 1);
  expect(JSON.parse((await following.untilLines(2))[1] ?? '')).toMatchObject({ event_id: second });
  following.signal('SIGTERM');
  await following.ended();
});

test('a rotated secret is shown once, alone', async () => {
  const { secret } = await hooks.subscribe(receiver, { name: 'rotated' });
  const rotated = await caller.run(['webhooks', 'rotate-secret', 'rotated', '--grace', '1h']);
  expect(rotated.out).toMatch(/^[\w-]{43}\n$/);
  expect(rotated.out).not.toContain(secret);
  expect((await caller.run(['webhooks', 'reencrypt'])).out).toBe('0 were sealed anew\n');
});

test.each([
  ['no numbers', ['redeliver', 'siem'], EXIT_CODES.usage.code],
  ['numbers and all', ['drop', 'siem', '1', '--all'], EXIT_CODES.usage.code],
  ['what is no number', ['drop', 'siem', 'x'], EXIT_CODES.usage.code],
  ['a webhook that is not there', ['test', 'nobody'], EXIT_CODES.failed.code],
])('refuses %s', async (_, args, code) => {
  expect((await caller.run(['webhooks', ...args])).code).toBe(code);
});
