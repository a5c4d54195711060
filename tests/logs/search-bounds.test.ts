import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { createEvent, type JsonObject } from '../../src/bus/event.ts';
import { logProjection } from '../../src/logs/log-projection.ts';
import { logQueryOf } from '../../src/logs/query.ts';
import { deepPage } from '../../src/logs/repository.ts';
import { foundLines } from '../../src/logs/search-sql.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';

const LINES = 400;
/** Over some days. */
const APART_MS = 1_000_000;
const START_MS = Date.parse('2026-11-21T08:00:00.000Z');
/** So that a few hundred lines are many. */
const BOUNDS = { walked: 40, candidates: 40, sampled: 20 };

/** The first line tells of what no other does; one in two tells of `common`; deckies and services meet or never do. */
function lineOf(n: number): JsonObject {
  return {
    decky: `decky-${n % 8}`,
    service: n % 2 === 0 ? 'ssh' : 'http',
    event_type: n === 3 ? 'rare' : 'usual',
    attacker_ip: '192.0.2.1',
    timestamp: new Date(START_MS + n * APART_MS).toISOString(),
    raw_line: n === 1 ? 'needle in a haystack' : n % 2 === 0 ? 'a common text' : 'another one',
    fields: n === 5 ? { user: 'common', n } : { other: n % 2 === 0 ? 'common' : 'rest', n },
  };
}

for (const engine of ENGINES) {
  describe(`a search among many lines (${engine})`, () => {
    let database: TestDatabase;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
      const events = Array.from({ length: LINES }, (_, n) => ({
        ...createEvent('system.log', 'x', lineOf(n), `line-${n}`),
        epoch: 'e1',
        offsetIn: () => n + 1,
      }));
      await database.db.transaction().execute((trx) => logProjection(engine).apply(trx, events));
    });
    afterAll(() => database.dispose());

    const find = async (search: string, times: { start_time?: string; end_time?: string } = {}) => {
      const found = await foundLines(database.db, engine, logQueryOf({ search, ...times }), 25, BOUNDS);
      return found.map(({ id }) => (id % 2 ** 40) - 1);
    };
    const newest = (first: number, step: number, count: number) =>
      Array.from({ length: count }, (_, n) => first - n * step);

    test.each<[what: string, search: string, lines: number[]]>([
      ['what many have, among the newest', 'common', newest(398, 2, 20)],
      ['what one has, however old', 'needle', [1]],
      ['what one of the exact value has, however old', 'service:http needle', [1]],
      ['nothing where it does not fit the exact value', 'service:ssh needle', []],
      ['two exact values that meet', 'decky:decky-2 service:ssh', newest(394, 8, 25)],
      ['two exact values that never meet', 'decky:decky-1 service:ssh', []],
      ['three of them, one of them rare', 'decky:decky-3 service:http event:rare', [3]],
      ['three of them that never meet', 'decky:decky-3 service:ssh event:usual', []],
      ['what nobody has', 'no-such-text', []],
      ['two texts that each have many, and none has both', 'another common', []],
      ['a short text, among the newest', 'n_', []],
    ])('finds %s', async (_what, search, lines) => {
      expect(await find(search)).toEqual(lines);
    });

    // The lines that the index of texts would find are as many as there are: somebody would have to look at each.
    test('does not look at all lines for a member whose value many lines have somewhere', async () => {
      expect(await find('user:common')).toEqual([]);
      const start = new Date(START_MS).toISOString();
      const end = new Date(START_MS + 30 * APART_MS).toISOString();
      expect(await find('user:common', { start_time: start, end_time: end })).toEqual([5]);
    });

    test('a page that begins far back is looked up by its day and minute', async () => {
      const numbers = async (offset: number) =>
        (await deepPage(database.db, 3, offset)).map(({ id }) => (id % 2 ** 40) - 1);
      for (const offset of [0, 1, 85, 86, 87, 200, 399]) {
        expect(await numbers(offset)).toEqual(newest(399 - offset, 1, Math.min(3, LINES - offset)));
      }
      expect(await numbers(400)).toEqual([]);
    });

    test('finds what came late where its time is', async () => {
      const payload = { ...lineOf(1), raw_line: 'needle too', timestamp: new Date(START_MS + 500).toISOString() };
      const late = { ...createEvent('system.log', 'x', payload, 'late'), epoch: 'e1', offsetIn: () => LINES + 1 };
      const undone = database.db.transaction().execute(async (trx) => {
        await logProjection(engine).apply(trx, [late]);
        const found = await foundLines(trx, engine, logQueryOf({ search: 'needle' }), 25, BOUNDS);
        expect(found.map(({ id }) => (id % 2 ** 40) - 1)).toEqual([1, LINES]);
        throw new Error('undone');
      });
      await expect(undone).rejects.toThrow('undone');
    });

    if (engine === 'postgres') {
      test('without the index of texts tells what the newest lines have', async () => {
        const other = await createTestDatabase(engine);
        try {
          await sql`drop index logs_text`.execute(other.db);
          const events = [0, 1, 2].map((n) => ({
            ...createEvent('system.log', 'x', lineOf(n), `line-${n}`),
            epoch: 'e1',
            offsetIn: () => n + 1,
          }));
          await other.db.transaction().execute((trx) => logProjection(engine).apply(trx, events));
          const found = (walked: number) =>
            foundLines(other.db, engine, logQueryOf({ search: 'needle' }), 25, { ...BOUNDS, walked });
          expect(await found(1)).toEqual([]);
          expect(await found(10)).toHaveLength(1);
        } finally {
          await other.dispose();
        }
      });
    }
  });
}
