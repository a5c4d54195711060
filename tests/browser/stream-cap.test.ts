import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import type { App } from '../../src/main.ts';
import { Clients, eventsOf, newTopology, newUser, offsetsOf, publishState, range } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { launchChromium, numberIn, openTab, untilNumber, untilState } from './support.ts';

const LIMIT_MS = 60_000;

let plane: Plane;
let node: App;
let admin: string;
let browser: Browser;
let context: BrowserContext;
const clients = new Clients();

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '2' });
  admin = await plane.token(node.url);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await plane.stop();
});
afterEach(async () => {
  clients.close();
  await context.close();
});

/** What a tab has been answered whenever it asked for its stream. */
class Attempts {
  readonly statuses: number[] = [];

  constructor(page: Page) {
    page.on('response', (response) => {
      if (/\/events\?.*ticket=/.test(response.url())) this.statuses.push(response.status());
    });
  }

  /** Makes the tab's clock jump until it has asked so many times more, each of them refused. */
  async untilRefused(page: Page, times: number): Promise<void> {
    const wanted = [...this.statuses, ...Array.from({ length: times }, () => 429)];
    for (let count = this.statuses.length; count < wanted.length; count++) {
      await untilWaiting(page);
      await page.clock.fastForward(30_000);
      await until('another attempt', () => this.statuses.length > count);
    }
    await untilWaiting(page);
    expect(this.statuses).toEqual(wanted);
  }
}

/** Refused, and with an attempt due. */
async function untilWaiting(page: Page): Promise<void> {
  await untilState(page, 'refused');
  await page.getByTestId('state-why').filter({ hasText: 'Next attempt in' }).waitFor();
}

/** A user of the test's own, and tabs of one browser profile that show one topology. */
async function openTabs(count: number) {
  const [user, topology] = await Promise.all([newUser(plane, node), newTopology(plane)]);
  context = await browser.newContext();
  await context.clock.install();
  const tabs: Page[] = [];
  for (let index = 0; index < count; index++) tabs.push(await openTab(context, node, user.username, topology));
  return { user, topology, tabs };
}

async function expectWhole(page: Page, events: number): Promise<void> {
  await untilNumber(page, 'count-events', events);
  expect(await Promise.all(['gaps', 'duplicates', 'resets'].map((name) => numberIn(page, `count-${name}`)))).toEqual([
    0, 0, 0,
  ]);
}

const evictions = (page: Page) => page.locator('[data-testid=control-row][data-name=evicted]').count();

test(
  'a tab beyond the cap says so, waits calmly, and gets in when another one is closed',
  async () => {
    const { topology, tabs, user } = await openTabs(2);
    const [first, second] = tabs as [Page, Page];
    await Promise.all(tabs.map((tab) => untilState(tab, 'live')));
    const third = await openTab(context, node, user.username, topology);
    const attempts = new Attempts(third);
    await untilWaiting(third);
    expect(await third.getByTestId('state').textContent()).toContain('refused');
    const why = (await third.getByTestId('state-why').textContent()) ?? '';
    expect(why).toContain('too many streams open');
    expect(Number(/Next attempt in (\d+) s/.exec(why)?.[1])).toBeGreaterThanOrEqual(5);

    await attempts.untilRefused(third, 3);
    expect(await Promise.all([first, second].map((tab) => tab.getByTestId('state').textContent()))).toEqual([
      'live',
      'live',
    ]);
    await first.close();
    await untilIn(third);
    await publishState(node, admin, topology, 'up');
    await expectWhole(third, 1);
    await expectWhole(second, 1);
    expect(await Promise.all([second, third].map(evictions))).toEqual([0, 0]);
  },
  LIMIT_MS,
);

test(
  "a tab whose slot was taken over says so, takes nobody else's, and returns to what it missed",
  async () => {
    const { topology, tabs, user } = await openTabs(1);
    const [first] = tabs as [Page];
    await untilState(first, 'live');
    const second = await openTab(context, node, user.username, topology);
    await untilState(second, 'live');
    await publishState(node, admin, topology, 'seen');
    await Promise.all([expectWhole(first, 1), expectWhole(second, 1)]);

    // A returning client of the same stream takes the oldest connection for its own half-dead one.
    const position = (await first.getByTestId('position').textContent()) ?? '';
    const third = await clients.open(node, `/topologies/${topology}/events`, { token: user.token, lastId: position });
    expect(third.status).toBe(200);
    await untilWaiting(first);
    expect(await first.getByTestId('state-why').textContent()).toContain('too many streams open');
    expect(await first.getByTestId('position').textContent()).toBe(`${position}.e`);
    const attempts = new Attempts(first);
    for (const state of ['missed 1', 'missed 2']) await publishState(node, admin, topology, state);
    await attempts.untilRefused(first, 4);

    await expectWhole(second, 3);
    expect(await Promise.all([first, second].map(evictions))).toEqual([1, 0]);
    expect(third.named('evicted')).toHaveLength(0);
    expect(third.ended).toBe(false);

    third.close();
    await untilIn(first);
    await publishState(node, admin, topology, 'live again');
    await Promise.all([expectWhole(first, 4), expectWhole(second, 4)]);
    expect(await first.getByTestId('position').textContent()).not.toEndWith('.e');
    expect(await numberIn(first, 'count-resumes')).toBe(1);
    expect(offsetsOf(eventsOf(third.frames))).toEqual(range(2, 3));
    expect(await Promise.all([first, second].map(evictions))).toEqual([1, 0]);
  },
  LIMIT_MS,
);

test(
  'a tab that is refused when it returns waits as well: it does not take a slot later that was given to another client',
  async () => {
    const { topology, tabs, user } = await openTabs(1);
    const [tab] = tabs as [Page];
    await untilState(tab, 'live');
    const streamOf = (id: string) => clients.open(node, `/topologies/${id}/events`, { token: user.token });
    // The network is gone for as long as it takes others to fill the house.
    await context.route('**/events?*', (route) => route.abort());
    await call(node.url, user.token, 'POST', '/streams/cut');
    await untilState(tab, 'cut');
    const elsewhere = await newTopology(plane);
    const others = [await streamOf(elsewhere), await streamOf(elsewhere)];
    expect(others.map(({ status }) => status)).toEqual([200, 200]);
    await context.unroute('**/events?*');
    await untilWaiting(tab);

    // Its next attempt waits for the clock: whoever comes meanwhile gets the slot.
    await tab.clock.pauseAt((await tab.evaluate(() => Date.now())) + 100);
    others[0]?.close();
    const sibling = await until('a slot for a stream of the same topology', async () => {
      const client = await streamOf(topology);
      return client.status === 200 && client;
    });
    await tab.clock.resume();
    const attempts = new Attempts(tab);
    await attempts.untilRefused(tab, 2);
    expect(sibling.ended).toBe(false);
    expect(sibling.named('evicted')).toHaveLength(0);

    await publishState(node, admin, topology, 'missed');
    others[1]?.close();
    await untilIn(tab);
    await expectWhole(tab, 1);
    expect(await numberIn(tab, 'count-resumes')).toBe(1);
  },
  LIMIT_MS,
);

/** Makes the clock jump until a waiting tab is in; a slot is free a moment after its stream was closed. */
async function untilIn(page: Page): Promise<void> {
  await until('a free slot', async () => {
    await page.clock.fastForward(30_000);
    return (await page.getByTestId('state').getAttribute('data-state')) === 'live';
  });
}
