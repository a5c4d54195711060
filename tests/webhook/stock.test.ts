import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { webhookBounds } from '../../src/db/migrations/023-webhook-bounds.ts';
import { CLOSED } from '../../src/webhook/breaker.ts';
import { dropDead, endPending, redeliver } from '../../src/webhook/deliveries.ts';
import { dispatch, Matchers } from '../../src/webhook/dispatch.ts';
import { tidyWebhooks } from '../../src/webhook/housekeeping.ts';
import { type AttemptResult, Recorder } from '../../src/webhook/recorder.ts';
import { removeDeliveries, removeOld } from '../../src/webhook/retention.ts';
import { findStanding, lockStanding } from '../../src/webhook/standing.ts';
import { type Bounds, stockOf } from '../../src/webhook/stock.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import { BOUNDS, createWorker, STANDING, type WebhookWorker } from './worker.ts';

describe.each(ENGINES)('what a webhook keeps on %s', (engine) => {
  let worker: WebhookWorker;
  let recorders: Recorder[];
  beforeEach(async () => {
    worker = await createWorker(engine);
    recorders = [];
    const begin = { epoch: 'e', offset: 0, proof: '0' };
    await findStanding(worker.db, { range: async () => ({ begin, oldestEpoch: 'e', end: begin }) });
  });
  afterEach(async () => {
    await Promise.all(recorders.map((recorder) => recorder.stop()));
    await worker.stop();
  });

  const recorder = (bounds: Bounds = BOUNDS) => {
    const made = new Recorder(worker.db, quiet, () => {}, bounds);
    recorders.push(made);
    return made;
  };
  const result = (uuid: string, row: Row, outcome: AttemptResult['outcome'], excerpt = 'no'): AttemptResult => ({
    subscription: { uuid, revision: 1 },
    request: {
      ...{ batch: row.seq, attempts: row.attempts, isBound: false, bytes: row.bytes },
      deliveries: [{ seq: row.seq, eventId: row.event_id, createdAt: 0 }],
    },
    ...{ outcome, dueAt: 0, at: Date.now(), status: 404, latencyMs: 1 },
    ...(outcome === 'delivered' ? { error: null, excerpt: 'ok' } : { error: 'no', excerpt }),
    ...{ breaker: CLOSED, breakerChanged: false, givesUp: false },
  });
  const rows = () => worker.db.selectFrom('webhook_deliveries').selectAll().orderBy('seq').execute();
  type Row = Awaited<ReturnType<typeof rows>>[number];
  /** What the rows say, which is what the counts have to say. */
  const counted = async (uuid: string) => {
    const found = await sql<{ state: string; events: number; bytes: number }>`
      select state, count(*) as events,
        cast(sum(event.bytes + coalesce((select sum(length(error) + coalesce(length(excerpt), 0))
          from webhook_attempts where delivery = seq), 0)) as bigint) as bytes
      from webhook_deliveries join webhook_events as event using (event_id)
      where subscription = ${uuid} group by state`.execute(worker.db);
    const none = { events: 0, bytes: 0 };
    const all = Object.fromEntries(found.rows.map(({ state, events, bytes }) => [state, { events, bytes }]));
    return { pending: none, delivered: none, dead: none, ...all };
  };
  const dropped = async () =>
    (await worker.db.selectFrom('outbox').select(['topic', 'payload']).orderBy('seq').execute())
      .filter(({ topic }) => topic.endsWith('.dropped'))
      .map(({ payload }) => JSON.parse(payload));

  test.each([1, 2, 3])(
    'is counted exactly, whatever is done with it (seed %i)',
    async (seed) => {
      const random = seeded(seed);
      const uuids = [await worker.subscribe(), await worker.subscribe()] as const;
      const one = recorder({ events: 8, bytes: 1_000_000 });
      for (let step = 0; step < 40; step += 1) {
        const uuid = random.pick(uuids);
        const all = (await rows()).filter(({ subscription }) => subscription === uuid);
        const some = all.filter(() => random.chance(0.4));
        const seqs = [0, ...some.map(({ seq }) => seq)];
        const deeds: (() => Promise<unknown>)[] = [
          () => worker.enqueue(random.between(1, 5), { text: 'x'.repeat(random.between(0, 50)) }),
          // Also of those that no longer wait.
          () =>
            Promise.all(some.map((row) => one.record(result(uuid, row, random.pick(['delivered', 'dead', 'retry']))))),
          () => redeliver(worker.db, uuid, { seqs }),
          () => dropDead(worker.db, uuid, { seqs }),
          () => endPending(worker.db, uuid, 'it is over'),
          () => removeOld(worker.db, { deliveredMs: -1, deadMs: 1e9 }),
          () => tidyWebhooks(worker.db, { deliveredMs: 1e9, deadMs: 1e9 }, { events: 4, bytes: 500 }, quiet),
        ];
        const deed = random.between(0, deeds.length - 1);
        const other = random.between(0, deeds.length - 1);
        // Two at once; but nothing is sent twice at once.
        await Promise.all([deeds[deed]?.(), deed === other ? undefined : deeds[other]?.()]);
        for (const each of uuids) expect(await stockOf(worker.db, each)).toEqual(await counted(each));
      }
      const orphans =
        await sql`select 1 from webhook_deliveries where event_id not in (select event_id from webhook_events)`;
      expect((await orphans.execute(worker.db)).rows).toEqual([]);
    },
    60_000,
  );

  test('is counted by the migration where there are deliveries already', async () => {
    const uuids = [await worker.subscribe(), await worker.subscribe()];
    await worker.enqueue(6, { text: 'é' });
    const one = recorder();
    const [first, second, third] = await rows();
    if (first === undefined || second === undefined || third === undefined) throw new Error('there are six');
    await one.record(result(first.subscription, first, 'delivered'));
    await one.record(result(second.subscription, second, 'dead', 'gone'));
    await one.record(result(third.subscription, third, 'retry'));
    const before = await Promise.all(uuids.map((uuid) => stockOf(worker.db, uuid)));
    // As it was before.
    const { schema } = worker.db;
    await schema.dropTable('webhook_stock').execute();
    await schema.alterTable('webhook_deliveries').dropColumn('bytes').execute();
    for (const column of ['behind', 'dropped']) {
      await schema.alterTable('webhook_subscriptions').dropColumn(column).execute();
    }
    await worker.db.connection().execute((db) => webhookBounds.up(db));
    expect(await Promise.all(uuids.map((uuid) => stockOf(worker.db, uuid)))).toEqual(before);
    for (const uuid of uuids) expect(await stockOf(worker.db, uuid)).toEqual(await counted(uuid));
  });

  test('dead letters past the bound go, the oldest first, counted and told; others stay', async () => {
    const uuid = await worker.subscribe();
    const other = await worker.subscribe();
    const one = recorder({ events: 20, bytes: 1_000_000 });
    await worker.enqueue(50);
    const all = await rows();
    const of = (which: string) => all.filter(({ subscription }) => subscription === which);
    for (const row of of(uuid)) await one.record(result(uuid, row, 'dead'));
    for (const row of of(other).slice(0, 5)) await one.record(result(other, row, 'dead'));
    await until('the surplus to go', async () => (await stockOf(worker.db, uuid)).dead.events === 20);
    const left = (await rows()).filter(({ subscription }) => subscription === uuid);
    expect(left.map(({ seq }) => seq)).toEqual(
      of(uuid)
        .slice(-20)
        .map(({ seq }) => seq),
    );
    expect(await worker.row(uuid)).toMatchObject({ dropped: 30, dead: 50 });
    expect((await dropped()).reduce((sum, { count }) => sum + count, 0)).toBe(30);
    expect((await dropped()).at(-1)).toMatchObject({ uuid, total: 30, kept_events: 20 });
    expect(await worker.row(other)).toMatchObject({ dropped: 0 });
    expect(await stockOf(worker.db, other)).toMatchObject({ pending: { events: 45 }, dead: { events: 5 } });
    // Attempts and events go with them, and no others.
    expect(await stockOf(worker.db, uuid)).toEqual(await counted(uuid));
    expect(await worker.db.selectFrom('webhook_events').select('event_id').execute()).toHaveLength(50);
  });

  test('large answers count, too: dead letters are bounded in bytes', async () => {
    const uuid = await worker.subscribe();
    const one = recorder({ events: 1000, bytes: 20_000 });
    await worker.enqueue(40);
    for (const row of await rows()) await one.record(result(uuid, row, 'dead', 'x'.repeat(4000)));
    await until('the surplus to go', async () => (await stockOf(worker.db, uuid)).dead.bytes <= 20_200);
    const { dead } = await stockOf(worker.db, uuid);
    expect(dead.events).toBeGreaterThan(2);
    expect((await worker.row(uuid)).dropped).toBe(40 - dead.events);
  });

  test('what was delivered is history: its surplus goes without a word', async () => {
    const uuid = await worker.subscribe();
    const one = recorder({ events: 5, bytes: 1_000_000 });
    await worker.enqueue(30);
    for (const row of await rows()) await one.record(result(uuid, row, 'delivered'));
    await until('the surplus to go', async () => (await rows()).length === 5);
    expect(await dropped()).toEqual([]);
    expect(await worker.row(uuid)).toMatchObject({ dropped: 0, delivered: 30 });
    expect(await worker.db.selectFrom('webhook_events').select('event_id').execute()).toHaveLength(5);
  });

  test('a dead letter that is sent again while it is dropped, or its time is over, is not removed', async () => {
    const uuid = await worker.subscribe();
    await worker.enqueue(3);
    await endPending(worker.db, uuid, 'it is over', 1);
    const dead = await rows();
    // It was chosen, then somebody was quicker.
    await redeliver(worker.db, uuid, { all: true });
    await removeDeliveries(worker.db, dead, 'dead');
    expect((await rows()).map(({ state }) => state)).toEqual(['pending', 'pending', 'pending']);
    expect(await stockOf(worker.db, uuid)).toMatchObject({ pending: { events: 3 }, dead: { events: 0 } });
  });

  test('an event that is dispatched while its last delivery is removed keeps its data', async () => {
    if (engine === 'sqlite') return; // One writer at a time.
    const uuid = await worker.subscribe();
    const [id = ''] = await worker.enqueue(1);
    await endPending(worker.db, uuid, 'it is over');
    const dead = await rows();
    const late = await worker.subscribe();
    const dispatched = Promise.withResolvers<void>();
    const mayCommit = Promise.withResolvers<void>();
    const dispatching = worker.db.transaction().execute(async (trx) => {
      await lockStanding(trx);
      const again = [{ id, topic: 'attacker.scored', data: '{}' }];
      await dispatch(trx, STANDING, again, new Matchers(), BOUNDS, 1);
      dispatched.resolve();
      await mayCommit.promise;
    });
    await dispatched.promise;
    const removing = removeDeliveries(worker.db, dead, 'dead');
    // It waits for the dispatcher.
    await until('it to wait', async () => {
      const waiting = await sql<{ count: number }>`select count(*) as count from pg_locks where not granted`.execute(
        worker.db,
      );
      return Number(waiting.rows[0]?.count) > 0;
    });
    mayCommit.resolve();
    await Promise.all([dispatching, removing]);
    const left = (await rows()).map(({ subscription, event_id }) => [subscription, event_id]);
    expect(left).toEqual([[late, id]]);
    expect(await worker.db.selectFrom('webhook_events').select('event_id').execute()).toEqual([{ event_id: id }]);
  });
});
