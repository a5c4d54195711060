import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROLES } from '../../src/auth/principal.ts';
import { FAMILIES } from '../../src/auth/rights.ts';
import type { App } from '../../src/main.ts';
import { Peer } from '../bus-socket/support.ts';
import { newAccount } from '../support/accounts.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';
import { newTopology } from './support.ts';

/**
 * Who may do what over which way, written down by hand: p publishes, s is shown it, - neither. The columns of service
 * accounts and of peers of the bus socket are told apart by what {@link GRANTS} gives them.
 */
const EXPECTED = `
  family       topic                            viewer admin all  controls few  operator peer fewPeer
  control      system.matrix.control            -      ps    -    ps       -    ps       ps   -
  activity     attacker.observed                s      ps    ps   ps       p    -        ps   p
  activity     attacker.observation.a.b         s      ps    ps   ps       p    -        ps   p
  activity     attribution.profile.changed      s      ps    ps   ps       -    -        ps   -
  activity     campaign.formed                  s      ps    ps   ps       -    -        ps   -
  activity     decky.web.state                  s      ps    ps   ps       ps   -        ps   s
  activity     decky.web.traffic                s      ps    ps   ps       s    -        ps   s
  activity     identity.formed                  s      ps    ps   ps       -    -        ps   -
  activity     orchestrator.traffic.web         s      ps    ps   ps       -    -        ps   -
  activity     system.matrix.health             s      ps    ps   ps       -    -        ps   -
  activity     system.log                       s      ps    ps   ps       -    -        ps   -
  activity     topology.t1.status               s      ps    ps   ps       -    -        ps   -
  activity     topology.t1.mutation.applied     s      ps    ps   ps       -    -        ps   -
  confidential canary.t1.triggered              -      ps    ps   ps       s    -        ps   -
  confidential credential.captured              -      ps    ps   ps       -    -        ps   -
  confidential email.sent                       -      ps    ps   ps       -    -        ps   -
  confidential smtp.relayed                     -      ps    ps   ps       -    -        ps   -
  confidential ttp.rule.fired.T1110             -      ps    ps   ps       -    -        ps   -
  confidential log.set_aside                    -      ps    ps   ps       -    -        ps   -
  confidential system.matrix.stopped            -      ps    ps   ps       -    -        ps   -
  confidential system.control                   -      ps    ps   ps       -    -        ps   -
  confidential system.a.b.control               -      ps    ps   ps       -    -        ps   -
  unlisted     unheard.of                       -      p     -    -        -    -        ps   -
  unlisted     log.other                        -      p     -    -        -    -        ps   -
  unlisted     system                           -      p     -    -        -    -        ps   -
  unlisted     attacker                         -      p     -    -        -    -        ps   -
`;

/** The same for what is about no topic: + is let in, - is refused by 403. Nobody is anybody without a token: 401. */
const ROUTES = `
  method route                      viewer admin all controls few operator
  GET    /auth/me                   +      +     +   +        +   +
  POST   /auth/sse-ticket           +      +     +   +        +   +
  GET    /config                    +      +     -   -        -   -
  GET    /topologies/               +      +     -   -        -   -
  GET    /identities                +      +     -   -        -   -
  GET    /deckies/lifecycle?ids=x   +      +     -   -        -   -
  POST   /streams/cut               +      +     -   -        -   -
  GET    /service-accounts          -      +     -   -        -   -
  GET    /outbox/set-aside          -      +     -   -        -   -
  DELETE /config/users/x            -      +     -   -        -   -
  DELETE /topologies/x              -      +     -   -        -   -
  stream /topologies/:t/events      +      +     +   +        -   -
  stream /identities/events         +      +     +   +        -   -
  stream /events                    +      +     +   +        +   +
`;

const GRANTS = {
  all: { publish: ['>'], subscribe: ['>'], control: false },
  controls: { publish: ['>'], subscribe: ['>'], control: true },
  few: { publish: ['attacker.>', 'decky.*.state'], subscribe: ['decky.>', 'canary.*.*'], control: false },
  operator: { publish: ['system.matrix.control'], subscribe: ['system.*.control'], control: true },
} as const;
const PEERS = {
  peer: { publish: '>', subscribe: '>' },
  fewPeer: { publish: 'attacker.>', subscribe: 'decky.>' },
} as const;

/** A table as rows by the names of its columns. */
function rowsOf(table: string): Record<string, string>[] {
  const [names = [], ...rows] = table
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return rows.map((cells) => Object.fromEntries(names.map((name, index) => [name, cells[index] ?? ''])));
}

const rows = rowsOf(EXPECTED);
const routes = rowsOf(ROUTES);
const topics = rows.map(({ topic = '' }) => topic);
const signedIn = [...ROLES, ...Object.keys(GRANTS)];
const expected = (who: string, action: 'p' | 's') =>
  rows.filter((row) => row[who]?.includes(action)).map(({ topic }) => topic ?? '');

let plane: Plane;
let node: App;
let folder: string;
let topology: string;
const nodes: Record<string, App> = {};
const tokens: Record<string, string> = {};
const sockets: WsClient[] = [];
const peers: Peer[] = [];
/** Where the log stood before one event of each topic was published, and what they are published with. */
let start: string;

beforeAll(async () => {
  plane = await createPlane();
  folder = await mkdtemp(join(tmpdir(), 'decnet-rights-'));
  for (const [name, { publish, subscribe }] of Object.entries(PEERS)) {
    nodes[name] = await plane.node(
      {},
      {
        DECNET_BUS_SOCKET: join(folder, `${name}.sock`),
        DECNET_BUS_GROUP: String(process.getgid?.() ?? 0),
        DECNET_BUS_PUBLISH: publish,
        DECNET_BUS_SUBSCRIBE: subscribe,
      },
    );
  }
  node = await plane.node();
  for (const role of ROLES) tokens[role] = await plane.token(node.url, role);
  for (const [name, grants] of Object.entries(GRANTS)) {
    tokens[name] = (await newAccount(node, tokenOf('admin'), grants)).secret;
  }
  topology = await newTopology(plane);
  start = await positionNow();
  for (const topic of topics) await publish('admin', topic);
});
afterAll(async () => {
  for (const socket of sockets) socket.close();
  for (const peer of peers) peer.close();
  await plane.stop();
  await rm(folder, { recursive: true, force: true });
});

function tokenOf(who: string): string {
  const token = tokens[who];
  if (token === undefined) throw new Error(`nobody is ${who}`);
  return token;
}

function publish(who: string, topic: string): Promise<Response> {
  return call(node.url, tokenOf(who), 'POST', '/events', { topic, type: 'matrix', payload: {} });
}

async function socketOf(who: string): Promise<WsClient> {
  const socket = await WsClient.open(node.url, { token: tokenOf(who) });
  sockets.push(socket);
  return socket;
}

async function peerOf(name: string): Promise<Peer> {
  const peer = await Peer.connect(join(folder, `${name}.sock`));
  peers.push(peer);
  return peer;
}

/** A stream until it ends. */
async function textOf(who: string, path: string): Promise<string> {
  const response = await call(node.url, tokenOf(who), 'GET', path);
  expect(response.status).toBe(200);
  return response.text();
}

async function positionNow(): Promise<string> {
  return /id: (\S+)/.exec(await textOf('admin', '/events?once=1'))?.[1] ?? '';
}

const isOfMatrix = (topic: string) => topics.includes(topic);

describe('the table that this test is written against', () => {
  test('has every family and every role of the code, and nothing else', () => {
    expect([...new Set(rows.map(({ family }) => family ?? ''))]).toEqual([...FAMILIES]);
    expect(
      Object.keys(rows[0] ?? {})
        .slice(2)
        .toSorted(),
    ).toEqual([...signedIn, ...Object.keys(PEERS)].toSorted());
    expect(
      Object.keys(routes[0] ?? {})
        .slice(2)
        .toSorted(),
    ).toEqual(signedIn.toSorted());
  });
});

describe.each(signedIn)('%s', (who) => {
  test('publishes by POST /events what it may', async () => {
    const statuses = await Promise.all(topics.map(async (topic) => [topic, (await publish(who, topic)).status]));
    const isAllowed = new Set(expected(who, 'p'));
    expect(statuses).toEqual(topics.map((topic) => [topic, isAllowed.has(topic) ? 202 : 403]));
  });

  test('publishes on a WebSocket what it may, one by one and together', async () => {
    const socket = await socketOf(who);
    const single = async (topic: string) => {
      const answer = await socket.ask({ op: 'publish', event: { topic, type: 'matrix', payload: {} } });
      const [result] = (answer.results as { error?: { name: string } }[] | undefined) ?? [{ error: answer }];
      return [topic, result?.error?.name];
    };
    const isAllowed = new Set(expected(who, 'p'));
    const names = topics.map((topic) => [topic, isAllowed.has(topic) ? undefined : 'forbidden']);
    expect(await Promise.all(topics.map(single))).toEqual(names);

    const before = await positionNow();
    const answer = await socket.ask({ op: 'publish', events: topics.map((topic) => ({ topic, payload: {} })) });
    if (answer.op === 'error') expect(answer.name).toBe('forbidden');
    else {
      const results = answer.results as { error?: { name: string } }[];
      expect(results.map(({ error }, index) => [topics[index], error?.name])).toEqual(names);
    }
    // Not only said: what was refused is not in the log.
    const text = await textOf('admin', `/events?topics=>&once=1&last_event_id=${before}`);
    const listed = new Set(expected('admin', 's'));
    expect(topicsOf(text)).toEqual(expected(who, 'p').filter((topic) => listed.has(topic)));
  });

  test('is shown by an EventSource what it may, and told that the rest was passed', async () => {
    const text = await textOf(who, `/events?topics=>&once=1&last_event_id=${start}`);
    expect([...new Set(topicsOf(text))]).toEqual(expected(who, 's'));
    // Each frame names the one before: what is left out is counted.
    const ids = [...text.matchAll(/^id: (\S+)/gm)].map(([, id]) => id);
    const previous = [...text.matchAll(/"prev":"([^"]+)"/g)].map(([, id]) => id);
    expect(previous).toEqual(ids.slice(0, previous.length));
  });

  test('is shown on a WebSocket what it may', async () => {
    const socket = await socketOf(who);
    await socket.subscribe('a', '/events?topics=>&once=1', start);
    await socket.untilEvent('a', 'end');
    const shown = socket.of('a').flatMap(({ data }) => data.topic ?? []);
    expect([...new Set(shown.filter(isOfMatrix))]).toEqual(expected(who, 's'));
  });

  test('is let in where it may be, and refused elsewhere', async () => {
    for (const row of routes) {
      const { method = '', route = '' } = row;
      const path = route.replace(':t', topology);
      const isAllowed = row[who] === '+';
      if (method === 'stream') {
        const { status } = await call(node.url, tokenOf(who), 'GET', `${path}?once=1`);
        expect([path, status]).toEqual([path, isAllowed ? 200 : 403]);
        const socket = await socketOf(who);
        const { op, name } = await socket.subscribe('a', `${path}?once=1`);
        expect([path, op, name]).toEqual([path, ...(isAllowed ? ['subscribed', undefined] : ['error', 'forbidden'])]);
      } else {
        const { status } = await call(node.url, tokenOf(who), method, path);
        expect([route, status === 403]).toEqual([route, !isAllowed]);
        expect(status).not.toBe(401);
      }
    }
  });
});

describe('nobody', () => {
  test.each(routes.map(({ method = '', route = '' }) => [method, route]))('%s %s is a 401', async (method, route) => {
    const path = `${node.url}/api/v1${route.replace(':t', topology)}`;
    expect((await fetch(path, { method: method === 'stream' ? 'GET' : method })).status).toBe(401);
  });

  test('publishes and hears nothing', async () => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ topic: 'attacker.observed', type: '', payload: {} });
    expect((await fetch(`${node.url}/api/v1/events`, { method: 'POST', headers, body })).status).toBe(401);
    const socket = await WsClient.open(node.url);
    sockets.push(socket);
    for (const message of [
      { op: 'publish', event: { topic: 'attacker.observed', type: '', payload: {} } },
      { op: 'subscribe', sid: 'a', stream: '/events' },
    ]) {
      expect(await socket.ask(message)).toMatchObject({ op: 'error', name: 'unauthenticated' });
    }
  });
});

describe.each(Object.keys(PEERS))('%s of the bus socket', (name) => {
  test('publishes what its listener may', async () => {
    const before = await positionNow();
    const [publisher, observer] = [await peerOf(name), await peerOf('peer')];
    observer.send('SUB', '>');
    // Subscribing is not acknowledged.
    await until('the observer to hear', async () => {
      await publish('admin', 'attacker.ready');
      return observer.events().some(({ topic }) => topic === 'attacker.ready');
    });
    for (const topic of [...topics, 'attacker.last']) publisher.publish(topic, {}, 'by-peer');
    const heard = () => observer.events().filter(({ type }) => type === 'by-peer');
    await until('the last one', () => heard().at(-1)?.topic === 'attacker.last');
    expect(heard().map(({ topic }) => topic)).toEqual([...expected(name, 'p'), 'attacker.last']);
    expect(await positionNow()).not.toBe(before);
  });

  test('is told what its listener may', async () => {
    const subscriber = await peerOf(name);
    subscriber.send('SUB', '>');
    const hears = (topic: string) => subscriber.events().some((event) => event.topic === topic);
    await until('the subscriber to hear', async () => {
      await publish('admin', 'decky.ready.state');
      return hears('decky.ready.state');
    });
    for (const topic of [...topics, 'decky.last.state']) await publish('admin', topic);
    await until('the last one', () => hears('decky.last.state'));
    const told = subscriber.events().map(({ topic }) => topic);
    expect(told.filter(isOfMatrix)).toEqual(expected(name, 's'));
  });
});

function topicsOf(text: string): string[] {
  return [...text.matchAll(/^data: (.*"topic":.*)$/gm)]
    .map(([, data = '']) => JSON.parse(data).topic)
    .filter(isOfMatrix);
}
