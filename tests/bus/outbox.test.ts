import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent, type JsonObject } from '../../src/bus/event.ts';
import { appendToOutbox, channelRevision } from '../../src/bus/outbox.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { upTo } from './support.ts';

/** The state change of these tests: a row that exists or does not. */
const revoked = (jti: string) => ({ jti, user_uuid: 'u', expires_at: '', revoked_at: '' });

const event = (topic = 'identity.formed', payload: JsonObject = {}) => createEvent(topic, 'a type', payload);

for (const engine of ENGINES) {
  describe(`the outbox on ${engine}`, () => {
    let database: TestDatabase;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      for (const table of ['outbox', 'channel_revisions', 'revoked_tokens'] as const) {
        await database.db.deleteFrom(table).execute();
      }
    });
    afterAll(() => database.dispose());

    const rows = () => database.db.selectFrom('outbox').selectAll().orderBy('seq').execute();
    const states = () => database.db.selectFrom('revoked_tokens').select('jti').execute();
    const append = (...events: ReturnType<typeof event>[]) =>
      database.db.transaction().execute((trx) => appendToOutbox(trx, events));
    const revision = (channel: string) => database.db.transaction().execute((trx) => channelRevision(trx, channel));

    test('holds an event as it was made, with the revision that it gave its channel', async () => {
      const made = event('topology.t1.status', { to: 'degraded', nested: { list: [1, null, 'ä\u2028'] } });
      await append(made);
      const [row] = await rows();
      expect(row).toMatchObject({ event_id: made.id, topic: made.topic, type: 'a type', ts: made.ts });
      expect(JSON.parse(row?.payload ?? '')).toEqual(made.payload);
      expect(JSON.parse(row?.revisions ?? '')).toEqual({ 'topology.t1': 1 });
    });

    test('commits a state change and its event together', async () => {
      await database.db.transaction().execute(async (trx) => {
        await trx.insertInto('revoked_tokens').values(revoked('kept')).execute();
        await appendToOutbox(trx, [event()]);
      });
      expect(await states()).toEqual([{ jti: 'kept' }]);
      expect(await rows()).toHaveLength(1);
      expect(await revision('identity')).toBe(1);
    });

    test('takes both back together: no event without its change, and no hole in the revisions', async () => {
      await append(event());
      const failing = database.db.transaction().execute(async (trx) => {
        await trx.insertInto('revoked_tokens').values(revoked('rolled back')).execute();
        await appendToOutbox(trx, [event(), event('decky.web.state', { topology_id: 't1' })]);
        throw new Error('after the event');
      });
      await expect(failing).rejects.toThrow('after the event');
      expect(await states()).toEqual([]);
      expect(await rows()).toHaveLength(1);
      expect(await revision('identity')).toBe(1);
      expect(await revision('decky')).toBe(0);
      await append(event());
      expect((await rows()).map((row) => JSON.parse(row.revisions))).toEqual([{ identity: 1 }, { identity: 2 }]);
    });

    test('an event that cannot be stored takes its state change with it', async () => {
      const twice = event();
      await append(twice);
      const failing = database.db.transaction().execute(async (trx) => {
        await trx.insertInto('revoked_tokens').values(revoked('rolled back')).execute();
        await appendToOutbox(trx, [twice]); // Its id is there already.
      });
      await expect(failing).rejects.toThrow(/unique/i);
      expect(await states()).toEqual([]);
      expect(await revision('identity')).toBe(1);
    });

    test('counts each channel by itself, over several events of a transaction and several transactions', async () => {
      await append(
        event('identity.formed'),
        event('decky.web.state', { topology_id: 't1' }),
        event('identity.merged'),
        event('topology.t1.status'),
      );
      await append(event('topology.t1.status'), event('decky.web.state'), event('topology.t2.status'));
      expect((await rows()).map((row) => JSON.parse(row.revisions))).toEqual([
        { identity: 1 },
        { decky: 1, 'topology.t1': 1 },
        { identity: 2 },
        { 'topology.t1': 2 },
        { 'topology.t1': 3 },
        { decky: 2 },
        { 'topology.t2': 1 },
      ]);
      expect(await revision('topology.t1')).toBe(3);
      expect(await revision('never.seen')).toBe(0);
    });

    test('no event at all changes nothing', async () => {
      await append();
      expect(await rows()).toEqual([]);
    });

    test('gives no number of a row twice, also when the newest row has gone', async () => {
      await append(event());
      const [first] = await rows();
      await database.db.deleteFrom('outbox').execute();
      await append(event());
      expect((await rows())[0]?.seq).toBeGreaterThan(first?.seq ?? Number.POSITIVE_INFINITY);
    });

    test('twenty transactions at once on the same channels end without a deadlock, in one order', async () => {
      const COUNT = 20;
      await Promise.all(
        upTo(COUNT).map((n) =>
          // The events in two orders: the channels are locked in one.
          n % 2 === 0
            ? append(event('identity.formed'), event('decky.web.state', { topology_id: 't1' }))
            : append(event('topology.t1.status'), event('decky.web.state'), event('identity.formed')),
        ),
      );
      const revisions = (await rows()).map((row): Record<string, number> => JSON.parse(row.revisions));
      for (const channel of ['identity', 'decky', 'topology.t1']) {
        expect(revisions.flatMap((own) => own[channel] ?? [])).toEqual(upTo(COUNT));
      }
    });
  });
}
