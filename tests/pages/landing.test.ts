import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { envelope, faultsOf, LOG_LINE, STATS } from './shape.ts';
import { BUSY } from './story.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

/** The messages of a stream of lines and statistics, of a type. */
function messages(stream: SseClient, type: string) {
  return stream.frames
    .filter(({ event }) => event === 'message')
    .map(({ data }) => JSON.parse(data))
    .filter((message) => message.type === type);
}

for (const engine of ENGINES) {
  describe(`the landing page and the live logs (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('the landing page asks for nothing but its stream, and is let in by the first message', async () => {
      const stream = await page.stream('/stream?search=');
      await stream.untilFrames(1);
      const [stats] = messages(stream, 'stats');
      expect(faultsOf(stats.data, STATS)).toEqual([]);
      expect(stats.data).toMatchObject({ total_logs: 9, unique_attackers: 3 });
      await page.tell([['system.log', 'login_attempt', { decky: 'web-front', service: 'ssh', attacker_ip: BUSY.ip }]]);
      const [lines] = await until('the line', () =>
        messages(stream, 'logs').length > 0 ? messages(stream, 'logs') : undefined,
      );
      expect(lines.data.map((row: object) => faultsOf(row, LOG_LINE))).toEqual([[]]);
    });

    test('the live logs ask for a page of lines and a stream with the same filter', async () => {
      const filter = `search=service:smtp&start_time=${encodeURIComponent('2026-01-01 00:00:00')}`;
      const list = await page.get(`/logs?limit=50&offset=0&${filter}`, envelope(LOG_LINE));
      expect(list).toMatchObject({ total: 2, limit: 50, offset: 0, data: [{ event_type: 'message_stored' }, {}] });
      const stream = await page.stream(`/stream?${filter}`);
      await stream.untilFrames(1);
      await page.tell([
        ['system.log', 'x', { decky: 'web-front', service: 'ssh', attacker_ip: BUSY.ip }],
        ['system.log', 'x', { decky: 'mail-relay', service: 'smtp', attacker_ip: BUSY.ip }],
      ]);
      await until('the line', () => messages(stream, 'logs').length > 0);
      expect(messages(stream, 'logs').flatMap(({ data }) => data)).toMatchObject([{ service: 'smtp' }]);
      expect((await page.get('/logs?limit=50&offset=0&search=', envelope(LOG_LINE))).total).toBeGreaterThan(9);
      // No page asks for these two, DECNET's command line does.
      await page.get('/stats', STATS);
      await page.get('/logs/histogram', [{ time: 'text', count: 'int' }]);
    });
  });
}
