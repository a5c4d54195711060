import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createEvent, type JsonObject } from '../../src/bus/event.ts';
import { logRowOf } from '../../src/logs/log-line.ts';
import { logProjection } from '../../src/logs/log-projection.ts';
import { logQueryOf } from '../../src/logs/query.ts';
import { histogram, listLogs } from '../../src/logs/repository.ts';
import { logRoutes } from '../../src/logs/routes.ts';
import { isFound } from '../../src/logs/search.ts';
import { readStats } from '../../src/logs/stats.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { authenticator, get, shell } from '../topology/support.ts';

const PAGE = { limit: 50, offset: 0 };

/** Ten lines, a quarter of an hour apart but for the last two. */
const LINES: readonly JsonObject[] = [
  ['web-1', 'ssh', 'login_attempt', '192.0.2.1', 'Failed password for root', { username: 'root', n: 3 }],
  ['web-1', 'ssh', 'login_attempt', '192.0.2.1', 'Accepted PASSWORD for admin', { username: 'admin', ok: true }],
  ['web-1', 'http', 'request', '192.0.2.2', 'GET /100%_sure', {}],
  ['web-2', 'http', 'request', '192.0.2.2', 'GET /index', { path: 'a "quoted" one' }],
  ['web-2', 'smtp', 'message_stored', '198.51.100.7', 'mail', {}],
  ['web-2', 'ssh', 'command', '198.51.100.7', "it's zq", { username: 'root' }],
  ['web-3', 'ssh', 'command', '203.0.113.9', 'cat /etc/passwd', {}],
  ['web-3', 'ssh', 'command', '203.0.113.9', '', {}],
].map(([decky, service, event_type, attacker_ip, raw_line, fields], index) => ({
  ...{ decky, service, event_type, attacker_ip, raw_line, fields },
  timestamp: new Date(Date.parse('2026-11-21T08:00:30Z') + Math.min(index, 6) * 900_000 + index * 1000).toISOString(),
})) as unknown as JsonObject[];

const EVENTS = LINES.map((payload, index) => ({
  ...createEvent('system.log', 'x', payload, `line-${index}`),
  epoch: 'e1',
  offsetIn: () => index + 1,
}));

for (const engine of ENGINES) {
  describe(`reads of the logs (${engine})`, () => {
    let database: TestDatabase;
    let app: { handle(request: Request): Promise<Response> };

    beforeAll(async () => {
      database = await createTestDatabase(engine);
      const { db } = database;
      await db.transaction().execute((trx) => logProjection(engine).apply(trx, EVENTS));
      app = shell().use(logRoutes({ db, engine, authenticator }));
    });
    afterAll(() => database.dispose());

    const linesOf = async (query: Parameters<typeof logQueryOf>[0], page = PAGE) => {
      const { total, rows } = await listLogs(database.db, engine, logQueryOf(query), page);
      return { total, lines: rows.map(({ id }) => id % 2 ** 40) };
    };

    test('come newest first, in pages from either end', async () => {
      expect(await linesOf({})).toEqual({ total: 8, lines: [8, 7, 6, 5, 4, 3, 2, 1] });
      expect(await linesOf({}, { limit: 3, offset: 1 })).toEqual({ total: 8, lines: [7, 6, 5] });
      expect(await linesOf({}, { limit: 3, offset: 6 })).toEqual({ total: 8, lines: [2, 1] });
      expect(await linesOf({}, { limit: 3, offset: 8 })).toEqual({ total: 8, lines: [] });
    });

    test('a line whose values are as long as they may be has a place in every index', async () => {
      // Characters of four bytes that no compression makes smaller.
      const { between } = seeded(5);
      const long = () => Array.from({ length: 127 }, () => String.fromCodePoint(between(0x20000, 0x2a6df))).join('');
      const payload = { decky: long(), service: long(), event_type: long(), attacker_ip: long() };
      const event = {
        ...createEvent('system.log', 'x', payload, 'long'),
        epoch: 'e1',
        offsetIn: () => 1000,
      };
      const undone = database.db.transaction().execute(async (trx) => {
        expect(await logProjection(engine).apply(trx, [event])).toBe(0);
        throw new Error('undone');
      });
      await expect(undone).rejects.toThrow('undone');
    });

    const SEARCHES: readonly [search: string, lines: number[]][] = [
      ['service:ssh', [8, 7, 6, 2, 1]],
      ['service:ssh decky:web-1', [2, 1]],
      ['event:command attacker:203.0.113.9', [8, 7]],
      ['attacker-ip:192.0.2.2', [4, 3]],
      ['attacker_ip:192.0.2.2 service:ssh', []],
      ['password', [2, 1]],
      ['"for root"', [1]],
      ['for root', [1]],
      ['PASSWD', [7]],
      ['web-2', [6, 5, 4]],
      ['198.51', [6, 5]],
      ['username:root', [6, 1]],
      ['n:3', [1]],
      ['ok:true', [2]],
      ['service:ssh username:root', [6, 1]],
      ['path:"a \\"quoted\\" one"', [4]],
      ['100%_', [3]],
      ['_', [3]],
      ['%', [3]],
      ["it\\'s", [6]],
      ['zq', [6]],
      ['service:nothing', []],
      ['no-such-text', []],
      ['null', [8, 7, 6, 5, 4, 3, 2, 1]],
      ["'", [8, 7, 6, 5, 4, 3, 2, 1]],
      ['" AND "', []],
      ['x:"$.a"', []],
    ];
    test.each(SEARCHES)('find %p', async (search, lines) => {
      const found = await linesOf({ search });
      expect(found.lines).toEqual(lines);
      expect(found.total).toBe(lines.length);
      // A stream asks the same of each line by itself.
      const asked = logQueryOf({ search });
      const streamed = EVENTS.filter((event, index) => {
        const row = logRowOf(event, index);
        return row !== undefined && isFound(row, asked.search, asked.range);
      });
      expect(streamed.map((event) => event.offsetIn()).reverse()).toEqual(lines);
    });

    test.each([
      ['2026-11-21 08:15:31', undefined, [8, 7, 6, 5, 4, 3, 2]],
      ['2026-11-21T08:15:31.001Z', undefined, [8, 7, 6, 5, 4, 3]],
      ['2026-11-21T09:15:31+01:00', '2026-11-21 08:45:33', [4, 3, 2]],
      [undefined, '2026-11-21 08:00:30', [1]],
      ['2026-11-22 00:00:00', undefined, []],
    ])('from %p to %p, both included', async (start_time, end_time, lines) => {
      const range = { ...(start_time && { start_time }), ...(end_time && { end_time }) };
      expect(await linesOf(range)).toEqual({ total: lines.length, lines });
      expect(await linesOf({ ...range, search: 'service:ssh' })).toMatchObject({
        lines: lines.filter((line) => [1, 2, 6, 7, 8].includes(line)),
      });
      const counted = await histogram(database.db, engine, logQueryOf(range), 15);
      expect(counted.reduce((sum, { count }) => sum + count, 0)).toBe(lines.length);
    });

    test.each([1, 7, 15, 60, 120])(
      'are counted in stretches of %d minutes, however they are searched',
      async (width) => {
        const expected = new Map<string, number>();
        for (const { timestamp } of LINES) {
          const start = Math.floor(Date.parse(`${timestamp}`) / (width * 60_000)) * width * 60_000;
          const time = new Date(start).toISOString().slice(0, 19).replace('T', ' ');
          expected.set(time, (expected.get(time) ?? 0) + 1);
        }
        const all = [...expected].map(([time, count]) => ({ time, count }));
        expect(await histogram(database.db, engine, logQueryOf({}), width)).toEqual(all);
        const ssh = await histogram(database.db, engine, logQueryOf({ search: 'service:ssh' }), width);
        expect(ssh.reduce((sum, { count }) => sum + count, 0)).toBe(5);
        const roots = await histogram(database.db, engine, logQueryOf({ search: 'username:root' }), width);
        expect(roots.reduce((sum, { count }) => sum + count, 0)).toBe(2);
        expect(roots.every(({ time }) => expected.has(time))).toBe(true);
      },
    );

    test('are what statistics count', async () => {
      const stats = { total_logs: 8, unique_attackers: 4, active_deckies: 0, deployed_deckies: 0 };
      expect(await readStats(database.db)).toEqual(stats);
    });

    const ask = async (path: string) => {
      const response = await app.handle(get(path));
      return { status: response.status, body: JSON.parse(await response.text()) };
    };

    test('have the shapes of the contract', async () => {
      const { status, body } = await ask('/logs?limit=1');
      expect(status).toBe(200);
      expect(body).toMatchObject({
        total: 8,
        limit: 1,
        offset: 0,
        data: [{ decky: 'web-3', fields: '{}', msg: null }],
      });
      expect(Object.keys(body.data[0]).sort()).toEqual(
        ['attacker_ip', 'decky', 'event_type', 'fields', 'id', 'msg', 'raw_line'].concat(
          ...['service', 'span_id', 'timestamp', 'trace_id'],
        ),
      );
      expect((await ask('/stats')).body).toMatchObject({ total_logs: 8 });
      expect((await ask('/logs/histogram')).body[0]).toEqual({ time: '2026-11-21 08:00:00', count: 1 });
    });

    test.each([
      '/logs?limit=0',
      '/logs?limit=1001',
      '/logs?offset=-1',
      '/logs?offset=2147483648',
      `/logs?search=${'x'.repeat(513)}`,
      '/logs?start_time=yesterday',
      '/logs/histogram?interval_minutes=0',
      '/logs/histogram?end_time=2026-13-01T00:00:00',
    ])('refuse %s', async (path) => {
      expect((await ask(path)).status).toBe(422);
    });

    test('hostile searches break nothing', async () => {
      for (const search of [
        "'; drop table logs; --",
        '"',
        '\\',
        '%00',
        'a:b:c',
        '$."x"',
        '((((',
        'NEAR(a b)',
        '\u{1f600}\u{1f600}\u{1f600}',
      ]) {
        expect((await ask(`/logs?search=${encodeURIComponent(search)}`)).status).toBe(200);
      }
    });
  });
}
