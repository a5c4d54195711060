import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { connect } from 'node:net';
import type { Browser } from 'playwright-core';
import type { App } from '../../src/main.ts';
import { launchChromium } from '../browser/support.ts';
import { newTopology, publishState } from '../integration/support.ts';
import { ADMIN, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { Dashboard, type Seen } from './front/dashboard.ts';
import { type Front, startDecnetProxy, startFiles, startNginx, startProxy } from './front/fronts.ts';

setDefaultTimeout(60_000);

const USER = 'admin-user';
const TOPOLOGY = ['snapshot', 'resumed', 'decky.state'];
const OPEN = 1;
const GIVEN_UP = 2;

/** The ways of docs/decnet.md to put DECNET's dashboard in front. */
type Way = readonly [name: string, behind: (node: App) => Promise<Front>];
const nginx = Bun.which('nginx');
const WAYS: readonly Way[] = [
  ['one origin, behind a reverse proxy', ({ url }) => startProxy(url)],
  ...(nginx === null ? [] : ([['one origin, behind nginx', ({ url }) => startNginx(nginx, url)]] satisfies Way[])),
  ["DECNET's own proxy", ({ url }) => startDecnetProxy(url)],
];

let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());

const states = ({ frames }: Seen) =>
  frames.flatMap(({ name, data }) => (name === 'decky.state' ? [data.payload?.state] : []));

/** What holds whichever way is gone. */
function everyWay(parts: () => { node: App; plane: Plane; front: Front; token: string }): void {
  const open = async () => {
    const page = await Dashboard.open(browser, parts().front);
    expect(await page.signIn(USER, ADMIN.password)).toBe(200);
    return { page, id: await newTopology(parts().plane) };
  };

  test('a page signs in, reads, writes, and is refused in words', async () => {
    const { page, id } = await open();
    expect(await page.ask('GET', `/topologies/${id}`)).toMatchObject({ status: 200, body: { topology: { id } } });
    const wanted = { name: crypto.randomUUID(), url: 'https://93.184.216.34/', topic_patterns: ['a.>'] };
    const made = await page.ask('POST', '/webhooks/', wanted);
    expect(made.status).toBe(201);
    const path = `/webhooks/${made.body.uuid}`;
    expect((await page.ask('PATCH', path, { enabled: false })).body.enabled).toBe(false);
    const interval = { global_mutation_interval: '45m' };
    expect((await page.ask('PUT', '/config/global-mutation-interval', interval)).status).toBe(200);
    expect((await page.ask('DELETE', path)).status).toBe(200);
    expect(await page.ask('DELETE', path)).toEqual({ status: 404, body: { detail: 'Webhook not found' } });
    expect((await page.ask('POST', '/auth/logout')).status).toBe(200);
    expect((await page.ask('GET', '/topologies/')).status).toBe(401);
    expect(await page.isSignedIn()).toBe(false);
    await page.close();
  });

  test('a stream comes as it happens, and again after it broke off', async () => {
    const { page, id } = await open();
    const stream = await page.follow(`/topologies/${id}/events`, TOPOLOGY);
    const first = await page.untilSeen('the snapshot', stream, ({ frames }) => frames.length === 1);
    expect(first).toMatchObject({ state: OPEN, errors: 0 });
    for (const state of ['one', 'two']) {
      await publishState(parts().node, parts().token, id, state);
      // Nothing comes behind it: what holds back until it has more would hold this back for good.
      const seen = await page.untilSeen(state, stream, (now) => states(now).includes(state));
      expect(seen).toMatchObject({ state: OPEN, opened: 1, errors: 0 });
    }
    expect((await page.ask('POST', '/streams/cut')).body).toEqual({ cut: 1 });
    await page.untilSeen('another stream', stream, ({ frames }) => frames.at(-1)?.name === 'snapshot');
    await publishState(parts().node, parts().token, id, 'three');
    const seen = await page.untilSeen('three', stream, (now) => states(now).includes('three'));
    expect(states(seen)).toEqual(['one', 'two', 'three']);
    await page.close();
  });
}

describe.each(WAYS)('%s', (_, behind) => {
  let plane: Plane;
  let node: App;
  let front: Front;
  let token: string;
  beforeAll(async () => {
    plane = await createPlane();
    node = await plane.node();
    token = await plane.token(node.url);
    front = await behind(node);
  });
  afterAll(async () => {
    await front.stop();
    await plane.stop();
  });

  everyWay(() => ({ node, plane, front, token }));

  test('a stream that is left to the browser goes on where it broke off, though its ticket is spent', async () => {
    const page = await Dashboard.open(browser, front);
    await page.signIn(USER, ADMIN.password);
    const id = await newTopology(plane);
    const stream = await page.keep(`/topologies/${id}/events`, TOPOLOGY);
    await page.untilSeen('the snapshot', stream, ({ frames }) => frames.length === 1);
    await publishState(node, token, id, 'before');
    await page.untilSeen('the event', stream, (seen) => states(seen).length === 1);
    await page.ask('POST', '/streams/cut');
    await publishState(node, token, id, 'meanwhile');
    const seen = await page.untilSeen('the rest', stream, (now) => states(now).length === 2);
    expect(seen.frames.map(({ name }) => name)).toEqual(['snapshot', 'decky.state', 'resumed', 'decky.state']);
    expect(states(seen)).toEqual(['before', 'meanwhile']);
    await page.close();
  });
});

describe('another origin', () => {
  const front = startFiles();
  let plane: Plane;
  let node: App;
  let token: string;
  beforeAll(async () => {
    plane = await createPlane();
    node = await plane.node({}, { DECNET_CORS_ORIGINS: `https://elsewhere.example,${front.url}` });
    token = await plane.token(node.url);
    await front.apiIs(node.url);
  });
  afterAll(async () => {
    await front.stop();
    await plane.stop();
  });

  everyWay(() => ({ node, plane, front, token }));

  test('a stream that is left to the browser ends when it breaks off: there is no cookie across origins', async () => {
    const page = await Dashboard.open(browser, front);
    await page.signIn(USER, ADMIN.password);
    const id = await newTopology(plane);
    const stream = await page.keep(`/topologies/${id}/events`, TOPOLOGY);
    await page.untilSeen('the snapshot', stream, ({ frames }) => frames.length === 1);
    await page.ask('POST', '/streams/cut');
    await page.untilSeen('its end', stream, ({ state }) => state === GIVEN_UP);
    await page.close();
  });

  test('an origin that is not named reads nothing', async () => {
    const stranger = startFiles();
    await stranger.apiIs(node.url);
    const page = await Dashboard.open(browser, stranger);
    await expect(page.signIn(USER, ADMIN.password)).rejects.toThrow('Failed to fetch');
    expect(await page.isSignedIn()).toBe(false);
    await page.close();
    await stranger.stop();
  });
});

describe('who is counted', () => {
  const LIMIT = 10;
  const TRUSTING = { DECNET_LIMITER_ENABLED: 'true', DECNET_TRUSTED_PROXIES: '127.0.0.1' };

  /** Signs in from an address of this machine, and claims to have come from another. @returns the status */
  function signInFrom(localAddress: string, front: Front, claimed: string): Promise<number> {
    const { hostname, port } = new URL(front.url);
    const body = JSON.stringify({ username: 'nobody', password: 'a wrong one' });
    const answered = Promise.withResolvers<number>();
    const socket = connect({ host: hostname, port: Number(port), localAddress });
    socket.on('error', answered.reject);
    socket.on('data', (chunk) => {
      answered.resolve(Number(String(chunk).split(' ')[1]));
      socket.destroy();
    });
    socket.write(
      `POST /api/v1/auth/login HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: close\r\nx-forwarded-for: ${claimed}\r\n` +
        `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    return answered.promise;
  }

  async function statusesFrom(address: string, front: Front): Promise<number[]> {
    const statuses: number[] = [];
    for (let attempt = 0; attempt <= LIMIT; attempt += 1) {
      statuses.push(await signInFrom(address, front, `203.0.113.${attempt}`));
    }
    return statuses;
  }
  const spent = [...Array.from({ length: LIMIT }, () => 401), 429];

  test.each(WAYS.slice(0, -1))('%s that is trusted: each address apart, and not as it claims', async (_, behind) => {
    const plane = await createPlane();
    const node = await plane.node({}, TRUSTING);
    const front = await behind(node);
    try {
      expect(await statusesFrom('127.0.0.1', front)).toEqual(spent);
      expect(await signInFrom('127.0.0.2', front, '203.0.113.1')).toBe(401);
    } finally {
      await front.stop();
      await plane.stop();
    }
  });

  test("DECNET's own proxy names nobody: all who come through it share one count, and may not choose another", async () => {
    const plane = await createPlane();
    const node = await plane.node({}, { DECNET_LIMITER_ENABLED: 'true' });
    const front = await startDecnetProxy(node.url);
    try {
      expect(await statusesFrom('127.0.0.1', front)).toEqual(spent);
      expect(await signInFrom('127.0.0.2', front, '203.0.113.200')).toBe(429);
    } finally {
      await front.stop();
      await plane.stop();
    }
  });
});

test("DECNET's own proxy notices late that a page was left: its stream counts until then, and the next one comes after", async () => {
  const plane = await createPlane();
  const node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
  const token = await plane.token(node.url);
  const front = await startDecnetProxy(node.url);
  try {
    const [left, next] = [await newTopology(plane), await newTopology(plane)];
    const page = await Dashboard.open(browser, front);
    await page.signIn(USER, ADMIN.password);
    const first = await page.follow(`/topologies/${left}/events`, TOPOLOGY);
    await page.untilSeen('the snapshot', first, ({ frames }) => frames.length === 1);
    await page.leave(first);
    const second = await page.follow(`/topologies/${next}/events`, TOPOLOGY);
    await page.untilSeen('a refusal', second, ({ opened, errors }) => opened === 0 && errors > 0);
    await page.untilSeen('its turn', second, ({ state, frames }) => state === OPEN && frames.length > 0);
    await publishState(node, token, next, 'here');
    await until('the event', async () => states(await page.look(second)).includes('here'));
    await page.close();
  } finally {
    await front.stop();
    await plane.stop();
  }
});
