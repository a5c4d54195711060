import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { Webhook } from 'standardwebhooks';
import { AppError } from '../../src/errors.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { dispatch, Matchers } from '../../src/webhook/dispatch.ts';
import { Dispatcher } from '../../src/webhook/dispatcher.ts';
import { tidyWebhooks } from '../../src/webhook/housekeeping.ts';
import { Recorder } from '../../src/webhook/recorder.ts';
import { SecretBox } from '../../src/webhook/secret-box.ts';
import { tellUnreadableSecrets } from '../../src/webhook/secret-check.ts';
import { standardSecret } from '../../src/webhook/signature.ts';
import { findStanding, moveStanding } from '../../src/webhook/standing.ts';
import { toSubscription } from '../../src/webhook/subscription.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Receiver, startReceiver } from './plane.ts';
import { BOUNDS, BOX, createWorker, keyOf, STANDING, type WebhookWorker } from './worker.ts';

describe.each(ENGINES)('webhooks on %s', (engine) => {
  let worker: WebhookWorker;
  let receiver: Receiver;
  beforeEach(async () => {
    worker = await createWorker(engine);
    receiver = startReceiver();
  });
  afterEach(async () => {
    await worker.stop();
    await receiver.stop();
  });

  const dead = (count: number) =>
    until('dead letters', async () => {
      const rows = (await worker.rows()).filter(({ state }) => state === 'dead');
      return rows.length === count ? rows : undefined;
    });
  const arrived = (ids: readonly string[]) =>
    until('all at the receiver', () => ids.every((id) => receiver.ids().includes(id)));

  test('a name that resolves to a private address after it was saved is not connected to', async () => {
    const { port } = new URL(receiver.url);
    let address = '93.184.216.34';
    const rules = { allowPrivate: false, resolve: async () => [address] };
    const wanted = { name: 'rebound', url: `http://hook.example:${port}/`, topic_patterns: ['>'] };
    await worker.subscriptions(BOX, rules).create(wanted);
    await worker.enqueue(2);
    address = '127.0.0.1';
    worker.deliverer({ target: rules });
    const [first] = await dead(2);
    expect(first?.error).toContain('forbidden address 127.0.0.1 (loopback)');
    expect(receiver.received).toEqual([]);
  });

  test('one forbidden address among allowed ones is enough, when it is saved and when it is changed', async () => {
    const rules = { allowPrivate: false, resolve: async () => ['93.184.216.34', '169.254.169.254'] };
    const own = worker.subscriptions(BOX, rules);
    const wanted = { name: 'meta', url: 'http://hook.example/', topic_patterns: ['>'] };
    const refusal = expect.objectContaining({ code: 'invalid', message: expect.stringContaining('forbidden') });
    await expect(own.create(wanted)).rejects.toEqual(refusal);
    const uuid = await worker.subscribe();
    await expect(own.update(uuid, { url: 'http://hook.example/' })).rejects.toBeInstanceOf(AppError);
    expect((await worker.row(uuid)).url).toBe('http://127.0.0.1:1024/');
  });

  test('an answer that no database takes is recorded all the same, and holds up nobody', async () => {
    receiver.answer = () => new Response('\0\ud800 no \0'.repeat(100), { status: 404 });
    const uuid = await worker.subscribe({ url: receiver.url });
    await worker.enqueue(1);
    worker.deliverer();
    await dead(1);
    const [attempt] = await worker.db.selectFrom('webhook_attempts').selectAll().execute();
    expect(attempt).toMatchObject({ error: 'non-retryable 404', excerpt: expect.stringContaining('� no �') });
    expect((await worker.row(uuid)).last_error).toBe('non-retryable 404');
  });

  test('a result that cannot be written does not keep the others from being written', async () => {
    const uuid = await worker.subscribe();
    const [bad = '', good = ''] = await worker.enqueue(2);
    const [first, second] = await worker.rows();
    const recorder = new Recorder(worker.db, quiet, () => {}, BOUNDS);
    const subscription = toSubscription(await worker.row(uuid));
    const result = (seq: number, eventId: string, excerpt: string) => ({
      subscription,
      request: { batch: seq, deliveries: [{ seq, eventId, createdAt: 0 }], attempts: 0, isBound: false, bytes: 1 },
      outcome: 'dead' as const,
      ...{ dueAt: 0, at: 1, status: 404, latencyMs: 1, error: 'no', excerpt, breaker: subscription.breaker },
      ...{ breakerChanged: false, givesUp: false },
    });
    // As if there were something that the database refuses.
    const refusal =
      engine === 'postgres'
        ? sql`alter table webhook_attempts add check (excerpt <> 'poison')`
        : sql`create trigger refusal before insert on webhook_attempts when new.excerpt = 'poison'
              begin select raise(abort, 'no'); end`;
    await refusal.execute(worker.db);
    await Promise.all([
      recorder.record(result(first?.seq ?? 0, bad, 'poison')),
      recorder.record(result(second?.seq ?? 0, good, 'well')),
    ]);
    const attempts = await worker.db.selectFrom('webhook_attempts').select('excerpt').orderBy('delivery').execute();
    expect(attempts).toEqual([{ excerpt: null }, { excerpt: 'well' }]);
    await recorder.stop();
  });

  test('a template that can no longer be used makes dead letters of its own webhook, and of no other', async () => {
    const broken = await worker.subscribe({ url: receiver.url, template: { text: '{"a": {{ event.id }}}' } });
    const template = JSON.stringify({ text: '{% unknown %}' });
    await worker.db.updateTable('webhook_subscriptions').set({ template }).where('uuid', '=', broken).execute();
    const failing = await worker.subscribe({
      url: receiver.url,
      template: { text: '{"a": {{ event.payload.text | default: 1 }} }' },
    });
    const wrong = JSON.stringify({ text: '{{ event.topic }} {{ event.id }}' });
    await worker.db.updateTable('webhook_subscriptions').set({ template: wrong }).where('uuid', '=', failing).execute();
    await worker.subscribe({ url: receiver.url });
    const ids = await worker.enqueue(1);
    worker.deliverer();
    await arrived(ids);
    const rows = await dead(2);
    expect(rows.map(({ error }) => error).sort()).toEqual([
      'template, line 1, column 1: tag "unknown" not found',
      expect.stringMatching(/^template: it does not write JSON: /),
    ]);
  });

  test('an event of which the template makes nothing keeps the others of its batch from nothing', async () => {
    const wrong = '{% if event.payload.number == 2 %}{ {% else %}{{ event.id }}{% endif %}';
    const uuid = await worker.subscribe({ url: receiver.url, batch_size: 5, ordered: true });
    const template = JSON.stringify({ text: wrong });
    await worker.db.updateTable('webhook_subscriptions').set({ template }).where('uuid', '=', uuid).execute();
    let refusals = 2;
    receiver.answer = () => {
      refusals -= 1;
      return new Response('', { status: refusals >= 0 ? 503 : 200 });
    };
    const ids = await worker.enqueue(5);
    worker.deliverer();
    const delivered = async () => (await worker.rows()).filter(({ state }) => state === 'delivered');
    await until('the others', async () => (await delivered()).length === 4);
    const others = ids.filter((_, index) => index !== 2);
    expect(receiver.received.map(({ text }) => JSON.parse(text))).toEqual([others, others, others]);
    expect(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    const [lost] = await dead(1);
    expect(lost).toMatchObject({ event_id: ids[2], error: expect.stringContaining('does not write JSON') });
    expect(await worker.row(uuid)).toMatchObject({ delivered: 4, dead: 1, last_error: null });
  });

  test('an event of a batch that is gone is told so, and not as delivered', async () => {
    await worker.subscribe({ url: receiver.url, batch_size: 3, ordered: true });
    const [first = '', lost = '', last = ''] = await worker.enqueue(3);
    await worker.db.deleteFrom('webhook_events').where('event_id', '=', lost).execute();
    worker.deliverer();
    expect(await dead(1)).toEqual([expect.objectContaining({ event_id: lost, error: 'its event is gone' })]);
    await arrived([first, last]);
    expect(receiver.received).toHaveLength(1);
  });

  test('a row that cannot be read costs the other webhooks nothing', async () => {
    const lost = await worker.subscribe({ url: receiver.url });
    await worker.subscribe({ url: receiver.url });
    await worker.db.updateTable('webhook_subscriptions').set({ breaker: '{' }).where('uuid', '=', lost).execute();
    const ids = await worker.enqueue(1);
    worker.deliverer();
    await arrived(ids);
    expect((await worker.rows()).find(({ state }) => state === 'pending')).toBeDefined();
  });

  test('a webhook whose patterns cannot be read is disabled and told, and the others go on', async () => {
    const lost = await worker.subscribe({ url: receiver.url });
    await worker.subscribe({ url: receiver.url });
    const garbled = { topic_patterns: '{"not": "a list"' };
    await worker.db.updateTable('webhook_subscriptions').set(garbled).where('uuid', '=', lost).execute();
    const ids = await worker.enqueue(1);
    worker.deliverer();
    await arrived(ids);
    expect(await worker.row(lost)).toMatchObject({
      enabled: 0,
      last_error: expect.stringContaining('topic_patterns cannot be read'),
    });
    const told = await worker.db.selectFrom('outbox').select('topic').execute();
    expect(told).toContainEqual({ topic: `system.webhook.${lost}.disabled` });
  });

  test('without the key of its secret nothing is sent, and it is told which key is missing', async () => {
    const secret = 'the secret words of an operator';
    await worker.subscribe({ url: receiver.url, secret });
    const lines: string[] = [];
    const logger = createLog('debug', (line) => lines.push(line));
    await worker.enqueue(1);
    worker.deliverer({ box: new SecretBox([keyOf('b')]), logger });
    const [row] = await dead(1);
    expect(row?.error).toContain("the key 'a' of a stored secret is not in DECNET_WEBHOOK_KEYS");
    expect(receiver.received).toEqual([]);
    expect(`${lines} ${JSON.stringify(row)}`).not.toContain(secret);
  });

  test('secrets are sealed with the key of now, and sign as before', async () => {
    const uuid = await worker.subscribe({ url: receiver.url, secret: 'the secret words of an operator' });
    await worker.subscriptions().rotateSecret(uuid, undefined, 3600);
    const both = new SecretBox([keyOf('b'), keyOf('a')]);
    const lost = await worker.subscribe();
    await worker.db
      .updateTable('webhook_subscriptions')
      .set({ secret: 'v1.c.AAAA' })
      .where('uuid', '=', lost)
      .execute();
    expect(await worker.subscriptions(both).reencrypt()).toEqual({ reencrypted: 1, unreadable: [lost] });
    expect(await worker.subscriptions(both).reencrypt()).toEqual({ reencrypted: 0, unreadable: [lost] });
    const row = await worker.row(uuid);
    const alone = new SecretBox([keyOf('b')]);
    expect(alone.open(row.previous_secret ?? '', uuid)).toBe('the secret words of an operator');
    expect(alone.open(row.secret, uuid)).toHaveLength(43);
  });

  test('secrets are sealed anew while deliveries run: each event comes once, signed as before', async () => {
    const secret = 'the secret words of an operator';
    const uuid = await worker.subscribe({ url: receiver.url, secret, concurrency: 8 });
    const boxes = [new SecretBox([keyOf('a'), keyOf('b')]), new SecretBox([keyOf('b'), keyOf('a')])] as const;
    const deliverer = worker.deliverer({ box: boxes[0] });
    const ids: string[] = [];
    for (let round = 0; round < 6; round += 1) {
      ids.push(...(await worker.enqueue(20)));
      deliverer.wake();
      const box = boxes[(round + 1) % 2];
      expect(await worker.subscriptions(box).reencrypt()).toEqual({ reencrypted: 1, unreadable: [] });
      deliverer.wake();
    }
    await until('all', async () => (await worker.row(uuid)).delivered === ids.length);
    expect(receiver.ids().sort()).toEqual(ids.sort());
    for (const { headers, text } of receiver.received) new Webhook(standardSecret(secret)).verify(text, headers);
  });

  test('secrets that no key opens are told at the start, without a word of them', async () => {
    const secret = 'the secret words of an operator';
    const lost = await worker.subscribe({ name: 'lost', secret });
    const lines: string[] = [];
    const logger = createLog('info', (line) => lines.push(line));
    await tellUnreadableSecrets(worker.db, BOX, logger);
    expect(lines).toEqual([]);
    // Another key under the same id, as where the key is derived from a secret that was changed.
    const other = { id: 'a', key: new Uint8Array(32).fill(7) };
    await tellUnreadableSecrets(worker.db, new SecretBox([other]), logger);
    expect(lines).toHaveLength(1);
    for (const word of [lost, 'lost', 'DECNET_WEBHOOK_KEYS']) expect(lines[0]).toContain(word);
    expect(lines[0]).not.toContain(secret);
  });

  test('what waited for a receiver that is gone becomes dead letters, which can be sent again', async () => {
    receiver.answer = () => new Response('gone', { status: 410 });
    const uuid = await worker.subscribe({ url: receiver.url, ordered: true });
    await worker.enqueue(3);
    worker.deliverer();
    await until('the end', async () => (await worker.row(uuid)).enabled === 0);
    await tidyWebhooks(worker.db, { deliveredMs: 1e9, deadMs: 1e9 }, BOUNDS, quiet);
    expect((await dead(3)).map(({ error }) => error)).toEqual([
      'non-retryable 410',
      'the webhook was disabled: non-retryable 410',
      'the webhook was disabled: non-retryable 410',
    ]);
    expect(await worker.row(uuid)).toMatchObject({ dead: 3 });
  });

  test('who comes late with the place that it knew moves nothing', async () => {
    const end = { epoch: 'e', offset: 5, proof: 'p' };
    const history = { range: async () => ({ begin: end, oldestEpoch: 'e', end }) };
    const at = await findStanding(worker.db, history);
    const move = (to: number) =>
      worker.db.transaction().execute((trx) => moveStanding(trx, at, { ...at, offset: to, proof: `${to}` }));
    expect([await move(7), await move(6)]).toEqual([true, false]);
    expect(await findStanding(worker.db, history)).toMatchObject({ offset: 7 });
  });

  test('two nodes that both believe to lead dispatch an event once, also when it was delivered and removed between', async () => {
    await worker.subscribe();
    const entry = {
      ...{ offset: 1, before: '0', proof: '1', id: 'one', topic: 'attacker.scored', epoch: 'e', revision: 0 },
      ...{ data: '{"topic":"attacker.scored","type":"","ts":1,"payload":{}}', places: [] },
    };
    const held = Promise.withResolvers<void>();
    const isAsked = Promise.withResolvers<void>();
    const node = (name: string, hold: Promise<void>) => {
      const dispatcher = new Dispatcher({
        ...{ db: worker.db, node: name, leaseMs: 60_000, bounds: BOUNDS, logger: quiet },
        ...{ onDispatched: () => {}, onCommitted: () => {} },
        history: {
          range: () => Promise.reject(new Error('the place is known')),
          async read({ offset }) {
            if (name === 'slow') isAsked.resolve();
            await hold;
            return { kind: 'next', epoch: 'e', entries: offset === 0 ? [entry] : [] };
          },
        },
      });
      dispatcher.start();
      return dispatcher;
    };
    const slow = node('slow', held.promise);
    await isAsked.promise;
    // As if it had slept for longer than its lease.
    await worker.db.deleteFrom('leases').execute();
    const quick = node('quick', Promise.resolve());
    await until('the delivery', async () => (await worker.rows()).length === 1);
    await worker.db.deleteFrom('webhook_deliveries').execute();
    held.resolve();
    await Promise.all([slow.stop(), quick.stop()]);
    expect(await worker.rows()).toEqual([]);
  });

  test('an event that is dispatched a second time is delivered once', async () => {
    await worker.subscribe({ url: receiver.url });
    const [id = ''] = await worker.enqueue(1);
    const again = [{ id, topic: 'attacker.scored', data: '{}' }];
    await worker.db.transaction().execute((trx) => dispatch(trx, STANDING, again, new Matchers(), BOUNDS, 1));
    expect(await worker.rows()).toHaveLength(1);
  });
});
