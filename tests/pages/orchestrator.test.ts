import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { ACTION, EMAIL, envelope } from './shape.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const LIST = envelope(ACTION);
const COUNT = { since: 'text', success: 'bool', kind: 'text?', count: 'int' } as const;

for (const engine of ENGINES) {
  describe(`the page of the orchestrator (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('opens with what was done, the newest first, without mail', async () => {
      const list = await page.get('/orchestrator/events?limit=50&offset=0', LIST);
      expect(list).toMatchObject({ total: 3, limit: 50, offset: 0 });
      expect(list.data.map((row: { action: string }) => row.action)).toEqual(['file:create', 'exec:uptime', 'exec:df']);
      expect(list.data[0]).toMatchObject({
        kind: 'file',
        src_decky_uuid: null,
        success: false,
        payload: '{"error":"full"}',
      });
    });

    test('shows one kind; mail in the shape of the others', async () => {
      expect((await page.get('/orchestrator/events?kind=traffic', LIST)).total).toBe(2);
      expect((await page.get('/orchestrator/events?kind=file', LIST)).total).toBe(1);
      expect(await page.get('/orchestrator/events?kind=email', envelope(EMAIL))).toMatchObject({
        total: 1,
        data: [
          {
            kind: 'email',
            protocol: 'smtp',
            action: 'Invoice',
            src_decky_uuid: 'a@x.example',
            dst_decky_uuid: 'b@x.example',
            success: false,
          },
        ],
      });
    });

    test('counts what failed lately', async () => {
      const stats = '/orchestrator/events/stats?success=false';
      expect(await page.get(`${stats}&since=1h`, COUNT)).toEqual({ since: '1h', success: false, kind: null, count: 2 });
      expect((await page.get(stats, COUNT)).since).toBe('1h');
      expect((await page.get(`${stats}&since=7d`, COUNT)).count).toBe(3);
      expect((await page.get(`${stats}&kind=email`, COUNT)).count).toBe(1);
      expect((await page.get(`${stats}&since=1d&kind=traffic`, COUNT)).count).toBe(1);
    });

    test('hears of what is done', async () => {
      const stream = await page.stream('/orchestrator/events/stream');
      await stream.untilFrames(1);
      expect(JSON.parse(stream.frames[0]?.data ?? '').events).toHaveLength(3);
      await page.tell([['orchestrator.email.d2', 'email', { kind: 'email', sender_email: 'x', recipient_email: 'y' }]]);
      await until('the event', () => stream.named('email').length === 1);
    });

    test.each([
      'events?kind=mail',
      'events?limit=0',
      'events?offset=-1',
      'events/stats',
      'events/stats?success=true',
      'events/stats?success=false&kind=mail',
      ...['0h', '8d', '169h', '1w', 'h', '-1h', '1.5h', '99999999999d'].map(
        (since) => `events/stats?success=false&since=${since}`,
      ),
    ])('refuses %s', async (path) => expect(await page.refused(`/orchestrator/${path}`)).toBe(422));
  });
}
