import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { Browser, Page } from 'playwright-core';
import type { App } from '../../src/main.ts';
import { mintTicket, newTopology, publishState, range } from '../integration/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { launchChromium } from './support.ts';

const LIMIT_MS = 30_000;

let plane: Plane;
let node: App;
let token: string;
let browser: Browser;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await plane.stop();
});

/** What a page's socket gets, seen from outside of it. */
function listen(page: Page): { readonly messages: Record<string, unknown>[]; code: number | undefined } {
  const seen = { messages: [] as Record<string, unknown>[], code: undefined as number | undefined };
  page.on('console', (line) => {
    const said = JSON.parse(line.text());
    if (typeof said === 'number') seen.code = said;
    else seen.messages.push(said);
  });
  return seen;
}

/** A socket of the page; sends a message whenever one has come, as long as it has some. */
async function openSocket(page: Page, url: string, messages: readonly object[]): Promise<void> {
  await page.evaluate(
    ([address, texts]) => {
      const socket = new WebSocket(address);
      const rest = [...texts];
      socket.onmessage = ({ data }) => {
        console.log(data);
        const next = rest.shift();
        if (next !== undefined) socket.send(next);
      };
      socket.onclose = ({ code }) => console.log(String(code));
    },
    [url, messages.map((message) => JSON.stringify(message))] as const,
  );
}

test(
  'Chromium signs in by a first message, subscribes with the cursor of an EventSource, publishes and goes on elsewhere',
  async () => {
    const id = await newTopology(plane);
    const path = `/topologies/${id}/events`;
    const before = await SseClient.open(`${node.url}/api/v1${path}`, { token });
    await before.untilEvent('snapshot');
    await publishState(node, token, id, 'state 1');
    await before.untilFrames(2);
    before.close();
    await publishState(node, token, id, 'state 2');

    const page = await browser.newPage();
    await page.goto(node.url);
    const seen = listen(page);
    const event = { topic: 'decky.web-1.state', payload: { topology_id: id, state: 'state 3' } };
    await openSocket(page, `${node.url.replace('http', 'ws')}/api/v1/ws`, [
      { op: 'auth', token },
      { op: 'subscribe', sid: 'a', stream: path, cursor: before.lastId },
      { op: 'publish', event },
    ]);
    const frames = () => seen.messages.filter(({ sid, op }) => sid === 'a' && op === undefined);
    await until('what came after the cursor', () => frames().length === 3);
    expect(frames().map(({ event: name }) => name)).toEqual(['resumed', 'decky.state', 'decky.state']);
    const last = String(frames().at(-1)?.id);

    const after = await SseClient.open(`${node.url}/api/v1${path}`, { token, lastId: last });
    await publishState(node, token, id, 'state 4');
    await after.untilFrames(2);
    expect(after.frames.map(({ event: name }) => name)).toEqual(['resumed', 'decky.state']);
    const offsets = [...before.frames, ...frames(), ...after.frames].map(
      ({ id: cursor }) => String(cursor).split('.')[1],
    );
    expect([...new Set(offsets)]).toEqual(range(0, 4).map(String));
    after.close();
    await page.close();
  },
  LIMIT_MS,
);

test(
  'Chromium on a page of another site gets no socket, whatever ticket it has',
  async () => {
    const other = Bun.serve({
      port: 0,
      fetch: () => new Response('<title>x</title>', { headers: { 'content-type': 'text/html' } }),
    });
    try {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${other.port}/`);
      const codes: (string | undefined)[] = [];
      page.on('console', (line) => codes.push(/Unexpected response code: (\d+)/.exec(line.text())?.[1]));
      const ticket = await mintTicket(node, token);
      const url = `${node.url.replace('http', 'ws')}/api/v1/ws?ticket=${ticket}`;
      const outcome = await page.evaluate(
        (address) =>
          new Promise((resolve) => {
            const socket = new WebSocket(address);
            socket.onopen = () => resolve('open');
            socket.onclose = ({ code }) => resolve(code);
          }),
        url,
      );
      expect(outcome).toBe(1006);
      await until('the reason', () => codes.includes('403'));
      // Nor was the ticket used up for it.
      const mine = await browser.newPage();
      await mine.goto(node.url);
      const seen = listen(mine);
      await openSocket(mine, url, []);
      await until('the sign-in', () => seen.messages.some(({ op }) => op === 'auth'));
    } finally {
      await other.stop(true);
    }
  },
  LIMIT_MS,
);
