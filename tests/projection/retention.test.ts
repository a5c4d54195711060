import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { createEvent } from '../../src/bus/event.ts';
import type { Db } from '../../src/db/database.ts';
import type { LogRow } from '../../src/db/schema.ts';
import { COUNTED_FIELDS, logProjection, minuteOf, QUARTER, QUARTERLY } from '../../src/logs/log-projection.ts';
import { logQueryOf } from '../../src/logs/query.ts';
import { histogram, listLogs } from '../../src/logs/repository.ts';
import { readStats } from '../../src/logs/stats.ts';
import type { Keep } from '../../src/projection/keep.ts';
import { beginClearing, endClearing } from '../../src/projection/places.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { Retention } from '../../src/projection/retention.ts';
import { allProjections } from '../../src/projection/start.ts';
import { Turns } from '../../src/projection/turns.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { createStage, dump, KEEP_ALL, type Stage, someEvents, trimmed } from './support.ts';

const LIMIT_MS = 60_000;
const START_MS = Date.parse('2026-11-21T08:00:00.000Z');
const MINUTE_MS = 60_000;

const keeping = (rows: Partial<Keep['rows']>, maxAgeMs = 0): Keep => ({
  rows: { ...KEEP_ALL.rows, ...rows },
  maxAgeMs,
});

/** How often each key occurs, as the table that counts it says it. */
function recounted<Key extends object>(keys: readonly Key[]) {
  const counted = new Map<string, Key & { lines: number }>();
  for (const key of keys) {
    const name = JSON.stringify(key);
    counted.set(name, { ...key, lines: (counted.get(name)?.lines ?? 0) + 1 });
  }
  return sorted([...counted.values()]);
}

const sorted = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row, Object.keys(row).sort())).sort();

/** All that is counted of lines is what one counts by hand. */
async function expectCountsOf(db: Db, lines: readonly LogRow[]): Promise<void> {
  const values = lines.flatMap((line) => COUNTED_FIELDS.map((field) => ({ field, value: line[field] })));
  expect(sorted(await db.selectFrom('log_values').selectAll().execute())).toEqual(recounted(values));
  const minutes = lines.map(({ timestamp }) => ({ minute: minuteOf(timestamp) }));
  expect(sorted(await db.selectFrom('log_minutes').selectAll().execute())).toEqual(recounted(minutes));
  const quarters = lines.flatMap((line) =>
    QUARTERLY.map((field) => ({ field, value: line[field], quarter: Math.floor(minuteOf(line.timestamp) / QUARTER) })),
  );
  expect(sorted(await db.selectFrom('log_quarters').selectAll().execute())).toEqual(recounted(quarters));
  const stats = await readStats(db);
  expect(stats.total_logs).toBe(lines.length);
  expect(stats.unique_attackers).toBe(new Set(lines.map(({ attacker_ip }) => attacker_ip)).size);
}

for (const engine of ENGINES) {
  describe(`what read models keep (${engine})`, () => {
    let stage: Stage;
    afterEach(() => stage.stop());

    test(
      'are the newest rows, in whatever order they came; a rebuild leaves the same',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const keep = keeping({ lines: 120, commands: 25, actions: 15 });
        const { next: random, between } = seeded(23);
        const events = someEvents(900, random);
        const told = events.slice(0, 600);
        for (let last = told.length - 1; last > 0; last -= 1) {
          const other = between(0, last);
          [told[last], told[other]] = [told[other] as (typeof told)[0], told[last] as (typeof told)[0]];
        }
        const node = await stage.node({ keep });
        await stage.publish(told);
        await stage.caughtUp();
        await trimmed(db, keep);
        // Too old for a place among the newest, and newer than all that are there.
        await stage.publish([...someEvents(50, random, -500), ...events.slice(600)]);
        await stage.caughtUp();
        await trimmed(db, keep);
        const rows = await dump(db);
        expect(rows).toEqual(await stage.recount(keep));
        const everything = await stage.recount();
        const newest = (table: string, time: string, id: string) =>
          (everything[table] ?? [])
            .map((row) => JSON.parse(String(row)))
            .sort((a, b) => (a[time] < b[time] || (a[time] === b[time] && a[id] < b[id]) ? 1 : -1));
        expect(everything.logs?.length).toBeGreaterThan(240);
        expect(sorted((rows.logs ?? []).map((row) => JSON.parse(String(row))))).toEqual(
          sorted(newest('logs', 'timestamp', 'id').slice(0, 120)),
        );
        expect(rows.attacker_commands?.length).toBe(25);
        expect(everything.attacker_commands?.length).toBeGreaterThan(50);
        expect(rows.orchestrator_events?.length).toBe(15);
        // What is told of attackers as a whole does not shrink with their commands.
        expect(rows.attackers).toEqual(everything.attackers ?? []);
        await expectCountsOf(db, await db.selectFrom('logs').selectAll().execute());

        for (const { name } of allProjections(engine)) {
          await rebuild(db, stage.history, allProjections(engine), name);
        }
        await stage.caughtUp();
        await trimmed(db, keep);
        expect(await dump(db)).toEqual(rows);
        await node.stop();
      },
      LIMIT_MS,
    );
  });

  describe(`retention (${engine})`, () => {
    let database: TestDatabase;
    const projection = logProjection(engine);
    beforeEach(async () => {
      database = await createTestDatabase(engine);
      await database.db.transaction().execute(async (trx) => {
        await beginClearing(trx, projection);
        await endClearing(trx, projection);
      });
    });
    afterEach(() => database.dispose());

    /** Lines, one a minute. */
    async function lines(count: number, first = 0): Promise<void> {
      const events = Array.from({ length: count }, (_, index) => {
        const n = first + index;
        const timestamp = new Date(START_MS + n * MINUTE_MS).toISOString();
        const payload = { decky: `decky-${n % 7}`, service: 'ssh', attacker_ip: `192.0.2.${n % 250}`, timestamp };
        const raw_line = `word${n} of a line`;
        return {
          ...createEvent('system.log', 'x', { ...payload, raw_line }, `line-${n}`),
          epoch: 'e1',
          offsetIn: () => n + 1,
        };
      });
      await database.db.transaction().execute((trx) => projection.apply(trx, events));
    }
    const retention = (keep: Keep) => new Retention(projection, { db: database.db, engine, keep });
    const kept = () => database.db.selectFrom('logs').selectAll().orderBy('id').execute();
    const found = (search: string) =>
      listLogs(database.db, engine, logQueryOf({ search }), { limit: 50, offset: 0 }).then(({ rows }) => rows.length);
    const turns = new Turns(engine);

    test('removes some rows at a time, with all that is counted of them', async () => {
      await lines(400);
      const trimming = retention(keeping({ lines: 250 }));
      expect(await trimming.step()).toBe(100);
      expect((await kept()).length).toBe(350);
      while ((await trimming.step()) > 0);
      const rows = await kept();
      expect(rows.map(({ id }) => id % 2 ** 40)).toEqual(Array.from({ length: 250 }, (_, index) => 151 + index));
      await expectCountsOf(database.db, rows);
      expect([await found('word149'), await found('word150'), await found('word399')]).toEqual([0, 1, 1]);
      if (engine === 'sqlite') {
        // Nor does the search index remember them.
        const indexed = sql<{
          rowid: number;
        }>`select rowid from log_search where log_search match '"wor"' order by rowid`;
        const ids = (await indexed.execute(database.db)).rows.map(({ rowid }) => rowid);
        expect(ids).toEqual(rows.map(({ id }) => id));
      }
      expect(await listLogs(database.db, engine, logQueryOf({}), { limit: 10, offset: 245 })).toMatchObject({
        total: 250,
        rows: { length: 5 },
      });
      const buckets = await histogram(database.db, engine, logQueryOf({ search: 'service:ssh' }), 15);
      expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(250);
    });

    test('removes what is too old, and nothing that is not', async () => {
      await lines(120);
      const now = START_MS + 120 * MINUTE_MS;
      const trimming = retention(keeping({}, 30 * MINUTE_MS));
      while ((await trimming.step(now)) > 0);
      expect((await kept()).length).toBe(30);
      await expectCountsOf(database.db, await kept());
      expect(await trimming.step(now)).toBe(0);
    });

    test('removes what comes in over the limit before more comes in', async () => {
      await lines(300);
      expect(await retention(keeping({ lines: 100 })).run(turns, () => false)).toBe(false);
      expect((await kept()).length).toBe(100);
    });

    test('removes a surplus from before bit by bit, while more comes in and none of it stays', async () => {
      await lines(900);
      const trimming = retention(keeping({ lines: 100 }));
      // It is told to stop after its first transaction, which leaves a surplus.
      expect(await trimming.run(turns, () => true)).toBe(true);
      let surplus = (await kept()).length;
      for (let first = 900; surplus > 100; first += 30) {
        await lines(30, first);
        await trimming.run(turns, () => false);
        const rows = (await kept()).length;
        expect(rows).toBeLessThanOrEqual(surplus);
        surplus = rows;
      }
    });

    test('leaves the rows of a projection of another version alone', async () => {
      await lines(20);
      await database.db.updateTable('projections').set({ version: 99 }).execute();
      expect(await retention(keeping({ lines: 10 })).step()).toBe(0);
      expect((await kept()).length).toBe(20);
    });

    test('a rebuild meanwhile does not make the counts wrong', async () => {
      await lines(300);
      const trimming = retention(keeping({ lines: 10 }));
      const begin = { epoch: 'e1', offset: 0, proof: '0' };
      const history = { range: async () => ({ begin, oldestEpoch: 'e1', end: begin }) };
      const emptied = rebuild(database.db, history, [projection], projection.name);
      await Promise.all([trimming.step(), emptied, trimming.step()]);
      await lines(300);
      while ((await trimming.step()) > 0);
      await expectCountsOf(database.db, await kept());
    });
  });
}
