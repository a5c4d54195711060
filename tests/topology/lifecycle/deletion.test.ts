import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { createEvent } from '../../../src/bus/event.ts';
import { EventLog, type Publication, type WitnessedPlace } from '../../../src/bus/event-log.ts';
import { keys } from '../../../src/bus/keys.ts';
import { appendToOutbox, channelRevision } from '../../../src/bus/outbox.ts';
import { OutboxPublisher } from '../../../src/bus/outbox-publisher.ts';
import { type Bus, createBus, DEFAULTS } from '../../bus/support.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../../support/database.ts';
import { until } from '../../support/until.ts';
import { blank, type Rest, restOf } from '../rest.ts';

/** A log that tells what it was given. */
class TellingLog extends EventLog {
  readonly given: Publication[] = [];
  override relay(publications: readonly Publication[], ...of: [number, WitnessedPlace]): Promise<WitnessedPlace> {
    this.given.push(...publications);
    return super.relay(publications, ...of);
  }
}

for (const engine of ENGINES) {
  describe(`the deletion of a topology on ${engine}`, () => {
    let database: TestDatabase;
    let bus: Bus;
    let rest: Rest;
    beforeAll(async () => {
      [database, bus] = await Promise.all([createTestDatabase(engine), createBus()]);
    });
    beforeEach(() => {
      rest = restOf(database.db);
    });
    afterEach(async () => {
      await database.db.deleteFrom('outbox').execute();
    });
    afterAll(() => Promise.all([database.dispose(), bus.stop()]));

    const transaction = () => database.db.transaction();
    const revision = (channel: string) => transaction().execute((trx) => channelRevision(trx, channel));

    async function isSomeoneWaiting(): Promise<boolean> {
      const { rows } = await sql`select 1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`.execute(database.db);
      return rows.length > 0;
    }

    test('takes its revision with it, is told, and wakes the relay', async () => {
      const id = await blank(rest);
      expect(await revision(`topology.${id}`)).toBe(1);
      const before = rest.committed();
      expect((await rest.call('DELETE', `/topologies/${id}`)).status).toBe(204);
      expect(rest.committed()).toBe(before + 1);
      expect(await revision(`topology.${id}`)).toBe(0);
      const rows = await database.db.selectFrom('outbox').selectAll().orderBy('seq').execute();
      expect(rows.map(({ topic, forget }) => [topic, forget])).toEqual([
        [`topology.${id}.status`, null],
        ['system.topology.deleted', `topology.${id}`],
      ]);
      expect(JSON.parse(rows[1]?.payload ?? '')).toEqual({ topology_id: id });
    });

    test('that is refused changes nothing', async () => {
      const id = await blank(rest, 'refused');
      await database.db.updateTable('topologies').set({ status: 'active' }).where('id', '=', id).execute();
      expect((await rest.call('DELETE', `/topologies/${id}`)).status).toBe(409);
      expect(await revision(`topology.${id}`)).toBe(1);
      expect(await database.db.selectFrom('outbox').select('forget').execute()).toEqual([{ forget: null }]);
    });

    test('reaches the log behind all that was told of it, with the channel that is to be forgotten', async () => {
      const id = await blank(rest, 'told');
      await rest.call('DELETE', `/topologies/${id}`);
      const log = new TellingLog(bus.redis, DEFAULTS);
      const publisher = new OutboxPublisher(database.db, log, quiet);
      while (await publisher.publishNext(7));
      expect(log.given.map(({ event, forget }) => [event.topic, forget])).toEqual([
        [`topology.${id}.status`, undefined],
        ['system.topology.deleted', `topology.${id}`],
      ]);
      // Nothing of it is left, neither events nor numbers.
      expect(await bus.redis.exists(keys.stream(`topology.${id}`))).toBe(0);
      const fields = await bus.redis.hkeys(keys.meta);
      expect(fields.filter((field) => field.includes(id))).toEqual([]);
    });

    test('waits for what is being told in the channel: nothing of it comes after the end', async () => {
      const channel = 'topology.t9';
      const written = Promise.withResolvers<void>();
      const mayCommit = Promise.withResolvers<void>();
      const told = transaction().execute(async (trx) => {
        await appendToOutbox(trx, [createEvent('topology.t9.status', 'status', {}, 'told')]);
        written.resolve();
        await mayCommit.promise;
      });
      await written.promise;
      const order: string[] = [];
      const deleted = transaction()
        .execute((trx) => appendToOutbox(trx, [createEvent('system.topology.deleted', '', {}, 'deleted')], channel))
        .then(() => order.push('deleted'));
      // SQLite has one writer anyway.
      if (engine === 'postgres') await until('the deletion to wait', () => order.length > 0 || isSomeoneWaiting());
      mayCommit.resolve();
      await Promise.all([told.then(() => order.push('told')), deleted]);
      expect(order).toEqual(['told', 'deleted']);
      const rows = await database.db.selectFrom('outbox').select('event_id').orderBy('seq').execute();
      expect(rows).toEqual([{ event_id: 'told' }, { event_id: 'deleted' }]);
      expect(await revision(channel)).toBe(0);
    });
  });
}
