import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { beginPurge } from '../../src/projection/places.ts';
import { askForPurge, PURGED } from '../../src/projection/purge.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { allProjections } from '../../src/projection/start.ts';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { createStage, dump, type Stage, someEvents } from './support.ts';

const PURGED_ONES = ['logs', 'attackers'] as const;
const LIMIT_MS = 60_000;

describe.each(ENGINES)('a purge (%s)', (engine) => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await createStage(engine);
  });
  afterEach(() => stage.stop());

  const count = async (table: 'logs' | 'attackers' | 'campaigns') => {
    const rows = stage.database.db.selectFrom(table).select((eb) => eb.fn.countAll<number>().as('rows'));
    return (await rows.executeTakeFirstOrThrow()).rows;
  };
  /** Asks, and does what the relay does then. @returns the id of the event */
  async function purge(): Promise<string> {
    const { db } = stage.database;
    await askForPurge(db, 'somebody', () => {});
    const [row] = await db.selectFrom('outbox').selectAll().execute();
    const { event_id } = await db.selectFrom('purges').select('event_id').executeTakeFirstOrThrow();
    expect(JSON.stringify(row)).toContain(event_id);
    await stage.publish([createEvent(PURGED, 'data.purged', {}, event_id)]);
    return event_id;
  }

  test(
    'gives up what stands before it, once, and nothing that comes after; a rebuild leaves the same',
    async () => {
      const { db } = stage.database;
      await stage.node();
      await stage.publish(someEvents(300, seeded(5).next));
      await stage.caughtUp();
      const [before, campaigns] = [await count('logs'), await count('campaigns')];
      expect(before).toBeGreaterThan(0);
      const later = someEvents(60, seeded(6).next, 1000);
      const lines = later.filter(({ topic }) => topic === 'system.log').length;
      await purge();
      await stage.publish(later);
      await stage.caughtUp();
      expect(await count('logs')).toBeGreaterThan(0);
      expect(await count('logs')).toBeLessThanOrEqual(lines);
      // What cannot be purged is as it was, and has gone on.
      expect(await count('campaigns')).toBeGreaterThanOrEqual(campaigns);
      const rows = await dump(db);
      for (const name of PURGED_ONES) {
        await rebuild(db, stage.history, allProjections(engine), name);
        await stage.caughtUp();
        expect(await dump(db)).toEqual(rows);
      }
    },
    LIMIT_MS,
  );

  test(
    'that is told again, by a log that was lost, is over: what has come since stays',
    async () => {
      const { db } = stage.database;
      await stage.node();
      await stage.publish(someEvents(60, seeded(10).next));
      await stage.caughtUp();
      const id = await purge();
      await stage.publish(someEvents(60, seeded(11).next, 1000));
      await stage.caughtUp();
      const rows = await dump(db);
      expect(await count('logs')).toBeGreaterThan(0);
      await stage.redis.commands.flushall();
      await stage.publish([createEvent(PURGED, 'data.purged', {}, id)]);
      await stage.caughtUp();
      expect(await dump(db)).toEqual(rows);
    },
    LIMIT_MS,
  );

  test(
    'that nobody asked for purges nothing, whoever publishes it',
    async () => {
      await stage.node();
      await stage.publish(someEvents(100, seeded(7).next));
      await stage.caughtUp();
      const rows = await dump(stage.database.db);
      await stage.publish([createEvent(PURGED, 'data.purged', { actor: 'admin' })]);
      await stage.caughtUp();
      expect(await dump(stage.database.db)).toEqual(rows);
    },
    LIMIT_MS,
  );

  test(
    'that was begun by a node that died is ended by the next one, which goes on from its place',
    async () => {
      const { db } = stage.database;
      const first = await stage.node();
      await stage.publish(someEvents(100, seeded(8).next));
      await stage.caughtUp();
      await first.stop();
      for (const projection of allProjections(engine)) {
        if (projection.isPurged) await db.transaction().execute((trx) => beginPurge(trx, projection));
      }
      await stage.node();
      await stage.caughtUp();
      for (const table of PURGED_ONES) expect(await count(table)).toBe(0);
      const [line] = someEvents(40, seeded(9).next, 5000).filter(({ topic }) => topic === 'system.log');
      if (line === undefined) throw new Error('there is no line');
      await stage.publish([line]);
      await stage.caughtUp();
      expect(await count('logs')).toBe(1);
    },
    LIMIT_MS,
  );
});
