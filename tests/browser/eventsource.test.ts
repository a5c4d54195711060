import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { EventSource } from 'eventsource';
import type { Browser, Page, Request } from 'playwright-core';
import type { App } from '../../src/main.ts';
import { enqueue, newTopology, newUser, range } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { launchChromium, numberIn, openTab, untilNumber, untilState } from './support.ts';

const LIMIT_MS = 30_000;

let plane: Plane;
let node: App;
let token: string;

beforeAll(async () => {
  plane = await createPlane();
  // Time enough to publish while a client is away, and not to be waited for.
  node = await plane.node({}, { DECNET_SSE_RETRY_MS: '1000' });
  token = await plane.token(node.url);
});
afterAll(() => plane.stop());

describe('Chromium on the page', () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(() => browser.close());

  /** A page of its own, signed in, with the stream of a topology live. */
  async function signIn(username: string, topologyId: string): Promise<Page> {
    const page = await openTab(browser, node, username, topologyId);
    await untilState(page, 'live');
    return page;
  }

  test(
    'loses nothing when the connection is cut: EventSource comes back by itself and says what it saw last',
    async () => {
      const id = await newTopology(plane);
      const page = await signIn('admin-user', id);
      const reconnections: Request[] = [];
      page.on('request', (request) => {
        if (request.url().includes(`/topologies/${id}/events?`)) reconnections.push(request);
      });
      for (const count of [1, 2, 3]) {
        await page.getByTestId('enqueue').click();
        await untilNumber(page, 'count-events', count);
      }
      const position = (await page.getByTestId('position').textContent()) ?? '';
      expect(position).toMatch(/^\w+\.3\.\w+$/);

      await page.getByTestId('cut').click();
      await untilState(page, 'cut');
      await enqueue(node, token, id, 'missed 1');
      await enqueue(node, token, id, 'missed 2');
      expect(await numberIn(page, 'count-events')).toBe(3);
      await untilState(page, 'live');
      await untilNumber(page, 'count-events', 5);
      await page.getByTestId('enqueue').click();
      await untilNumber(page, 'count-events', 6);

      // The browser's own reconnection: the same address, so with the ticket that is spent.
      expect(reconnections).toHaveLength(1);
      expect(reconnections[0]?.url()).toContain('ticket=');
      expect(await reconnections[0]?.headerValue('last-event-id')).toBe(position);
      const rows = await page
        .getByTestId('event-row')
        .evaluateAll((items) => items.map(({ dataset }) => `${dataset.id?.split('.')[1]} ${dataset.origin}`));
      expect(rows.reverse()).toEqual(['1 live', '2 live', '3 live', '4 replayed', '5 replayed', '6 live']);
      const counts = ['gaps', 'duplicates', 'resumes', 'resets'].map((name) => numberIn(page, `count-${name}`));
      expect(await Promise.all(counts)).toEqual([0, 0, 1, 0]);
      expect(await page.getByTestId('verdict').getAttribute('data-verdict')).toBe('complete');
      await page.close();
    },
    LIMIT_MS,
  );

  test(
    'shows a reset when the log is gone, and goes on',
    async () => {
      const id = await newTopology(plane);
      const page = await signIn('admin-user', id);
      await page.getByTestId('enqueue').click();
      await untilNumber(page, 'count-events', 1);
      await plane.redis.client().flushall();
      await untilNumber(page, 'count-resets', 1);
      await page.getByTestId('enqueue').click();
      await untilNumber(page, 'count-events', 2);
      const counts = ['gaps', 'duplicates'].map((name) => numberIn(page, `count-${name}`));
      expect(await Promise.all(counts)).toEqual([0, 0]);
      expect(await page.getByTestId('position').textContent()).toMatch(/^\w+\.1\.\w+$/);
      await page.close();
    },
    LIMIT_MS,
  );

  test(
    'is asked to sign in again when the session ends',
    async () => {
      const user = await newUser(plane, node);
      const page = await signIn(user.username, await newTopology(plane));
      expect(await page.getByTestId('mutation-closed').isVisible()).toBe(true);
      await call(node.url, token, 'DELETE', `/config/users/${user.uuid}`);
      await page.getByTestId('login-form').waitFor({ state: 'visible' });
      expect(await page.getByTestId('login-problem').textContent()).toContain('session');
      expect(await page.getByTestId('console').isVisible()).toBe(false);
      await page.close();
    },
    LIMIT_MS,
  );
});

describe('other clients', () => {
  const streamOf = (id: string) => `${node.url}/api/v1/topologies/${id}/events`;

  test(
    'npm eventsource resumes after a cut without loss or duplicate',
    async () => {
      const id = await newTopology(plane);
      const ids: string[] = [];
      const openings: string[] = [];
      const source = new EventSource(streamOf(id), {
        fetch: (input, init) =>
          fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
      });
      for (const name of ['snapshot', 'resumed', 'reset']) source.addEventListener(name, () => openings.push(name));
      source.addEventListener('mutation.enqueued', ({ lastEventId }) => ids.push(lastEventId.split('.')[1] ?? ''));
      try {
        await until('the snapshot', () => openings.length === 1);
        await enqueue(node, token, id);
        await until('an event', () => ids.length === 1);
        await call(node.url, token, 'POST', '/streams/cut');
        await until('the cut', () => source.readyState === EventSource.CONNECTING);
        for (const name of ['missed 1', 'missed 2']) await enqueue(node, token, id, name);
        expect(ids).toHaveLength(1);
        await until('what was missed', () => ids.length === 3);
        await enqueue(node, token, id);
        await until('a live event', () => ids.length === 4);
        expect(ids).toEqual(range(1, 4).map(String));
        expect(openings).toEqual(['snapshot', 'resumed']);
      } finally {
        source.close();
      }
    },
    LIMIT_MS,
  );

  test(
    'curl -N streams at once, and resumes by a header or by the query',
    async () => {
      const id = await newTopology(plane);
      /** Runs curl until what it printed matches, and answers that. */
      const curl = async (what: string, end: RegExp, ...args: string[]) => {
        const child = Bun.spawn(['curl', '-sN', '-H', `Authorization: Bearer ${token}`, ...args], { stdout: 'pipe' });
        let text = '';
        const reading = (async () => {
          for await (const chunk of child.stdout) text += Buffer.from(chunk).toString();
        })();
        await until(what, () => end.test(text)).finally(() => child.kill());
        await reading;
        return text;
      };
      const opening = await curl('the snapshot', /event: snapshot\ndata: .*\n\n/, streamOf(id));
      expect(opening).toMatch(/^retry: \d+\n\n: keepalive\n\nid: [0-9a-z]+\.0\.0\nevent: snapshot\ndata: \{.*\}\n\n/);
      for (const name of ['one', 'two', 'three']) await enqueue(node, token, id, name);
      const start = /id: (.*)/.exec(opening)?.[1] ?? '';
      const third = /\.3\.\w{8}\nevent: mutation.enqueued\ndata: .*\n\n/;
      const everything = await curl('all events', third, `${streamOf(id)}?last_event_id=${start}`);
      const idAt = (offset: number) => new RegExp(`^id: (\\w+\\.${offset}\\.\\w+)$`, 'm').exec(everything)?.[1] ?? '';
      for (const args of [
        ['-H', `Last-Event-ID: ${idAt(1)}`, streamOf(id)],
        [`${streamOf(id)}?last_event_id=${idAt(1)}`],
        [`${streamOf(id)}?lastEventId=${idAt(1)}`],
        ['-H', `Last-Event-ID: ${idAt(1)}`, `${streamOf(id)}?last_event_id=${idAt(3)}`],
      ]) {
        const text = await curl('the third event', third, ...args);
        expect(
          Array.from(text.matchAll(/^id: \w+\.(\d+)\..*\nevent: (.*)$/gm), ([, offset, name]) => `${offset} ${name}`),
        ).toEqual(['1 resumed', '2 mutation.enqueued', '3 mutation.enqueued']);
      }
    },
    LIMIT_MS,
  );
});
