import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { newAccount } from '../support/accounts.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';
import { Clients, eventsOf, mintTicket, newTopology, publish, refusal } from './support.ts';

const PIPELINED = 400;
const LIMIT_MS = 30_000;

const clients = new Clients();
const sockets: WsClient[] = [];
const lines: string[] = [];
let plane: Plane;
let one: App;
let other: App;
let admin: string;

beforeAll(async () => {
  plane = await createPlane();
  const log = createLog('debug', (line) => lines.push(line));
  // Longer than a test: no `position` frame comes in between.
  [one, other] = [
    await plane.node({ log }, { DECNET_SSE_KEEPALIVE_SECONDS: '60' }),
    await plane.node({ log }, { DECNET_SSE_KEEPALIVE_SECONDS: '60' }),
  ];
  admin = await plane.token(one.url);
});
afterEach(() => {
  clients.close();
  for (const socket of sockets.splice(0)) socket.close();
});
afterAll(() => plane.stop());

async function open(node: App, init: Parameters<typeof WsClient.open>[1] = {}): Promise<WsClient> {
  const socket = await WsClient.open(node.url, init);
  sockets.push(socket);
  return socket;
}

const account = (rights: object = {}) => newAccount(one, admin, rights);
const change = (uuid: string, method: string, tail = '', body?: object) =>
  call(one.url, admin, method, `/service-accounts/${uuid}${tail}`, body);
const event = (topic: string, n = 0) => ({ topic, type: 'test', payload: { n } });
const topicsOf = (client: { frames: { event: string; data: string; id: string }[] }) =>
  eventsOf(client.frames).map(({ data }) => JSON.parse(data).topic);

describe('a service account', () => {
  test('streams by header, by ?token=, by ticket and by the first message of a socket', async () => {
    const { name, secret, uuid } = await account({ subscribe: ['attacker.>'] });
    const byTicket = `/events?topics=>&ticket=${await mintTicket(other, secret)}`;
    const streams = [
      await clients.open(one, '/events?topics=>', { token: secret }),
      await clients.open(one, `/events?topics=>&token=${secret}`),
      await clients.open(one, byTicket),
    ];
    for (const stream of streams) await stream.untilEvent('ready');
    const socket = await open(other);
    const answer = await socket.ask({ op: 'auth', token: secret });
    expect(answer).toMatchObject({ op: 'auth', user: name, role: 'account', expires_at: null });
    await socket.subscribe('a', '/events?topics=>');
    await publish(one, secret, 'credential.captured');
    await publish(one, secret, 'attacker.observed');
    for (const stream of streams) {
      await stream.untilFrames(2);
      expect(topicsOf(stream)).toEqual(['attacker.observed']);
    }
    await until('the event', () => socket.of('a').length === 2);

    // A spent ticket and its cookie, as a browser comes back with them: for a day, not for ever.
    const cookie = streams[2]?.response?.headers.get('set-cookie') ?? '';
    expect(Number(/Max-Age=(\d+)/i.exec(cookie)?.[1])).toBeLessThanOrEqual(24 * 3600);
    const headers = { cookie: cookie.split(';')[0] ?? '' };
    expect((await clients.open(one, byTicket, { headers })).status).toBe(200);
    const redis = plane.redis.client();
    for (const key of await redis.keys('{decnet}:spent:*')) {
      expect(await redis.pttl(key)).toBeLessThanOrEqual(24 * 3600 * 1000);
    }
    await change(uuid, 'DELETE');
    expect((await clients.open(one, byTicket, { headers })).status).toBe(401);
  });

  test('counts its streams for itself, and is told its own name at the cap, on a socket too', async () => {
    const capped = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
    const [mine, another] = [await account(), await account()];
    expect((await clients.open(capped, '/events', { token: mine.secret })).status).toBe(200);
    expect((await clients.open(capped, '/events', { token: another.secret })).status).toBe(200);
    const detail = `Stream limit (1) of the service account '${mine.name}' reached; close another stream first`;
    const { response } = await clients.open(capped, '/events', { token: mine.secret });
    expect(await refusal(response)).toEqual({ status: 429, detail });
    const socket = await open(capped, { token: mine.secret });
    expect(await socket.subscribe('a', '/events')).toMatchObject({ op: 'error', name: 'stream_limit', detail });
    const viewer = await plane.token(one.url, 'viewer', 'somebody');
    await clients.open(capped, '/events', { token: viewer });
    const refused = await refusal((await clients.open(capped, '/events', { token: viewer })).response);
    expect(refused.detail).toStartWith("Stream limit (1) of the user 'somebody' reached");
  });

  test('is shown on a declared stream all of it or nothing', async () => {
    const path = `/topologies/${await newTopology(plane)}/events`;
    const [some, all] = [
      await account({ subscribe: ['topology.>'] }),
      await account({ subscribe: ['topology.>', 'decky.>'] }),
    ];
    const { response } = await clients.open(one, path, { token: some.secret });
    expect(await refusal(response)).toEqual({
      status: 403,
      detail: 'Insufficient permissions: this stream shows all of topology.>, decky.>',
    });
    expect((await clients.open(one, path, { token: all.secret })).status).toBe(200);
    // Nor is it told whether there is such a thing.
    const unknown = `/topologies/${crypto.randomUUID()}/events`;
    expect((await clients.open(one, unknown, { token: some.secret })).status).toBe(403);
    expect((await clients.open(one, unknown, { token: all.secret })).status).toBe(404);
  });
});

describe('what takes something away', () => {
  const endings: [string, (uuid: string) => Promise<Response>, number][] = [
    ['a revocation', (uuid) => change(uuid, 'DELETE'), 401],
    ['a rotation', (uuid) => change(uuid, 'POST', '/rotate'), 401],
    ['a narrowing', (uuid) => change(uuid, 'PATCH', '', { subscribe: ['decky.>'], publish: ['decky.>'] }), 200],
  ];

  test.each(endings)('%s ends open streams and sockets on every node at once', async (_, take, after) => {
    const { uuid, secret } = await account({ control: true });
    const bystander = await clients.open(other, '/events', { token: (await account()).secret });
    const streams = [
      await clients.open(one, '/events', { token: secret }),
      await clients.open(other, '/events', { token: secret }),
    ];
    const open_ = [await open(one, { token: secret }), await open(other, { token: secret })];
    for (const stream of [...streams, bystander]) await stream.untilEvent('ready');
    for (const socket of open_) {
      await socket.subscribe('a', '/events');
      await socket.untilEvent('a', 'ready');
    }
    expect((await take(uuid)).ok).toBe(true);
    for (const stream of streams) {
      await stream.untilEnded();
      expect(stream.end).toBe('finished');
    }
    for (const socket of open_) expect(await socket.untilClosed()).toMatchObject({ code: 4410 });
    expect((await clients.open(other, '/events', { token: secret })).status).toBe(after);
    expect(bystander.ended).toBe(false);
  });

  test('a narrowing: whoever comes back with the cursor is shown the rest of what is left, without a gap', async () => {
    const { uuid, secret } = await account({ subscribe: ['attacker.>', 'decky.>'] });
    const before = await clients.open(other, '/events', { token: secret });
    await before.untilEvent('ready');
    await publish(one, admin, 'attacker.before');
    await before.untilFrames(2);
    await change(uuid, 'PATCH', '', { subscribe: ['decky.>'] });
    await before.untilEnded();
    for (const topic of ['attacker.missed', 'decky.d.state']) await publish(one, admin, topic);
    const after = await clients.open(other, '/events', { token: secret, lastId: before.lastId });
    await after.untilFrames(2);
    await publish(one, admin, 'attacker.live');
    await publish(one, admin, 'decky.d.traffic');
    await after.untilFrames(3);
    expect(topicsOf(before)).toEqual(['attacker.before']);
    expect(topicsOf(after)).toEqual(['decky.d.state', 'decky.d.traffic']);
    const [resumed, ...events] = after.frames;
    expect(resumed).toMatchObject({ event: 'resumed', id: before.lastId });
    expect(events.map(({ data }) => JSON.parse(data).prev)).toEqual([before.lastId, events[0]?.id]);
  });

  test.each(endings)(
    '%s bites in the middle of pipelined publishing: nothing that was sent after it is published',
    async (_, take) => {
      const { uuid, secret } = await account({ publish: ['attacker.>'] });
      const socket = await open(one, { token: secret });
      const watcher = await clients.open(other, '/events?topics=attacker.>', { token: admin });
      await watcher.untilEvent('ready');
      const send = (from: number) => {
        for (let n = from; n < from + PIPELINED; n += 1)
          socket.send({ op: 'publish', ref: n, event: event('attacker.p', n) });
      };
      send(0);
      await until('an acknowledgement', () => socket.answers.some(({ op }) => op === 'published'));
      send(PIPELINED);
      const taken = await take(uuid);
      expect(taken.ok).toBe(true);
      if (socket.closed === undefined) send(2 * PIPELINED);
      expect((await socket.untilClosed()).code).toBe(4410);
      await publish(one, admin, 'attacker.last');
      await until('the last event', () => topicsOf(watcher).at(-1) === 'attacker.last');
      const numbers = eventsOf(watcher.frames)
        .map(({ data }) => JSON.parse(data))
        .filter(({ topic }) => topic === 'attacker.p')
        .map(({ payload }) => payload.n as number);
      expect(Math.max(...numbers)).toBeLessThan(2 * PIPELINED);
      // In order, without a hole, and all that was acknowledged.
      expect(numbers).toEqual(numbers.map((_number, index) => index));
      const acknowledged = socket.answers.filter(({ op }) => op === 'published').length;
      expect(numbers.length).toBeGreaterThanOrEqual(acknowledged);
    },
    LIMIT_MS,
  );

  test('an account’s end comes by itself, for what is open too', async () => {
    const expires_at = Math.floor(Date.now() / 1000) + 2;
    const { secret } = await account({ expires_at });
    const stream = await clients.open(one, '/events', { token: secret });
    await stream.untilEvent('ready');
    const socket = await open(other, { token: secret });
    expect(socket.answers).toContainEqual(expect.objectContaining({ op: 'auth', expires_at: expires_at * 1000 }));
    await stream.untilEnded();
    expect(stream.end).toBe('finished');
    expect(await socket.untilClosed()).toMatchObject({ code: 4410 });
    expect((await call(one.url, secret, 'POST', '/events', event('attacker.a'))).status).toBe(401);
    expect((await clients.open(one, '/events', { token: secret })).status).toBe(401);
  });

  test(
    'with Redis away bites all the same: nothing is remembered of an account',
    async () => {
      const [revoked, narrowed] = [await account(), await account()];
      const socket = await open(other, { token: revoked.secret });
      const renewed = await open(other, { token: narrowed.secret });
      await renewed.subscribe('a', '/events?topics=attacker.>');
      await renewed.untilEvent('a', 'ready');
      const ticket = await mintTicket(one, revoked.secret);
      const publishes = (secret: string, topic: string) => call(other.url, secret, 'POST', '/events', event(topic));
      for (const { secret } of [revoked, narrowed]) expect((await publishes(secret, 'attacker.a')).status).toBe(202);
      await plane.redis.down();
      try {
        expect((await publishes(revoked.secret, 'attacker.a')).status).toBe(503);
        expect((await change(revoked.uuid, 'DELETE')).status).toBe(204);
        expect((await change(narrowed.uuid, 'PATCH', '', { publish: ['decky.>'], subscribe: [] })).status).toBe(200);
        expect((await publishes(revoked.secret, 'attacker.a')).status).toBe(401);
        expect((await publishes(narrowed.secret, 'attacker.a')).status).toBe(403);
        expect((await clients.open(other, '/events', { token: revoked.secret })).status).toBe(401);
        expect(await socket.ask({ op: 'publish', event: event('attacker.a') })).toMatchObject({
          name: 'unauthenticated',
        });
        expect(await socket.ask({ op: 'auth', token: revoked.secret })).toMatchObject({ name: 'unauthenticated' });
        // Nobody has told the node; whoever says again who it is goes on with what it may do now.
        expect(await renewed.ask({ op: 'auth', token: narrowed.secret })).toMatchObject({ op: 'auth' });
        await renewed.untilEvent('a', 'end');
        const refused = await renewed.ask({ op: 'publish', event: event('attacker.a') });
        expect(refused.results).toEqual([{ error: expect.objectContaining({ name: 'forbidden' }) }]);
      } finally {
        await plane.redis.up();
      }
      for (const { url } of [one, other]) await until('readiness', async () => (await fetch(`${url}/readyz`)).ok);
      // The event that tells of it waited in the outbox.
      expect(await socket.untilClosed()).toMatchObject({ code: 4410 });
      expect((await clients.open(one, `/events?ticket=${ticket}`)).status).toBe(401);
    },
    LIMIT_MS,
  );

  test('a rotation with a grace leaves a socket open, which goes on with the new secret', async () => {
    const { uuid, secret } = await account();
    const socket = await open(other, { token: secret });
    await socket.subscribe('a', '/events?topics=attacker.>');
    await socket.untilEvent('a', 'ready');
    const rotated = await change(uuid, 'POST', '/rotate', { grace_seconds: 60 });
    const fresh = JSON.parse(await rotated.text()).secret;
    expect(await socket.ask({ op: 'auth', token: fresh })).toMatchObject({ op: 'auth', expires_at: null });
    // Ends the first secret for good.
    await change(uuid, 'POST', '/rotate', { grace_seconds: 60 });
    expect((await clients.open(other, '/events', { token: secret })).status).toBe(401);
    expect(await socket.ask({ op: 'publish', event: event('attacker.a') })).toMatchObject({ op: 'published' });
    await until('the event', () => socket.of('a').length === 2);
    expect(socket.closed).toBeUndefined();
  });

  test('a socket is not handed on to another account, nor to a user', async () => {
    const [mine, another] = [await account(), await account()];
    const socket = await open(one, { token: mine.secret });
    for (const token of [another.secret, admin]) {
      expect(await socket.ask({ op: 'auth', token })).toMatchObject({ op: 'error', name: 'forbidden' });
    }
  });
});

test('no secret of an account is in any line of the log, in whatever way it came', async () => {
  const { secret, uuid } = await account({ subscribe: ['attacker.>'] });
  const wrong = `${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`;
  const from = lines.length;
  for (const token of [secret, wrong]) {
    await clients.open(one, `/events?token=${token}`);
    await clients.open(one, `/nowhere?token=${token}`);
    await clients.open(one, '/identities/events', { token });
    await call(one.url, token, 'POST', '/events', event('attacker.a'));
    await (await open(one)).ask({ op: 'auth', token });
    await open(one, { query: `?token=${token}` });
  }
  await change(uuid, 'POST', '/rotate');
  await change(uuid, 'DELETE');
  await until('lines about it', () => lines.slice(from).join('').includes(uuid));
  const text = lines.join('\n');
  for (const token of [secret, wrong]) expect(text).not.toContain(token.slice(-40));
});
