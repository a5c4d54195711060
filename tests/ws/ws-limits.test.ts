import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import type { App } from '../../src/main.ts';
import { Clients, newTopology, newUser, publishState, range } from '../integration/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { RawWsClient } from '../support/raw-ws-client.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';
import { insertMutation } from '../topology/support.ts';

const LIMIT_MS = 60_000;
/** Together more than the kernel takes for a client that reads nothing. */
const EVENTS = 160;
const EVENT_BYTES = 100_000;
/** Of answers, that a process keeps for a client, and that the kernel does. */
const [MOST_UNREAD_BYTES, KERNEL_BYTES] = [4 * 1024 * 1024, 8 * 1024 * 1024];
const PINGS = 200_000;

let plane: Plane;
let log: EventLog;
const sockets: { close(): void }[] = [];
const clients = new Clients();

beforeAll(async () => {
  plane = await createPlane();
  log = new EventLog(plane.redis.client(), plane.config.bus);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
  clients.close();
});
afterAll(() => plane.stop());

async function open(node: App, token: string): Promise<WsClient> {
  const socket = await WsClient.open(node.url, { token });
  sockets.push(socket);
  return socket;
}

async function openRaw(node: App, token: string): Promise<RawWsClient> {
  const socket = await RawWsClient.open(node.url, token);
  sockets.push(socket);
  return socket;
}

/** A topology whose snapshot holds the text once for each mutation. */
async function topologyOfMegabytes(first: number, last: number, name: string): Promise<string> {
  const id = await newTopology(plane);
  const { db } = plane.database;
  for (const position of range(first, last)) await insertMutation(db, id, position);
  const payload = JSON.stringify({ name });
  await db.updateTable('topology_mutations').set({ payload }).where('topology_id', '=', id).execute();
  return id;
}

async function publishALot(id: string): Promise<void> {
  for (const n of range(1, EVENTS)) {
    const payload = { topology_id: id, n, filler: 'x'.repeat(EVENT_BYTES) };
    await log.publish([{ event: createEvent('decky.web-1.traffic', 'traffic', payload) }]);
  }
}

/** What came of a stream, parts put together: names and numbers. */
function seen({ messages }: RawWsClient, sid: string): (string | number)[] {
  let whole = '';
  return messages.flatMap((message) => {
    if (message.sid !== sid || message.op !== undefined) return [];
    if (message.part === undefined) return [numberOf(message)];
    whole += String(message.part);
    if (message.more) return [];
    const frame = JSON.parse(whole);
    whole = '';
    return [numberOf(frame)];
  });
}

// biome-ignore lint/suspicious/noExplicitAny: of a test
const numberOf = (frame: any) => frame.data.payload?.n ?? frame.event;

test(
  'a client that reads slowly gets everything of all its streams, once and in order; one that reads nothing is dropped',
  async () => {
    const node = await plane.node({}, { DECNET_SSE_STALL_SECONDS: '1', DECNET_SSE_WINDOW_BYTES: '1048576' });
    const token = await plane.token(node.url);
    const [one, other] = [await newTopology(plane), await newTopology(plane)];
    const [slow, stalled] = [await openRaw(node, token), await openRaw(node, token)];
    for (const socket of [slow, stalled]) {
      socket.send({ op: 'subscribe', sid: 'a', stream: `/topologies/${one}/events` });
      socket.send({ op: 'subscribe', sid: 'b', stream: `/topologies/${other}/events` });
      await until('both snapshots', () => socket.messages.filter(({ event }) => event === 'snapshot').length === 2);
    }
    stalled.pause();
    slow.trickle(100);
    await publishState(node, token, other, 'before');
    await publishALot(one);
    await publishState(node, token, other, 'after');
    await until('all of it', () => slow.closed || seen(slow, 'a').length === 1 + EVENTS, LIMIT_MS);
    expect(seen(slow, 'a')).toEqual(['snapshot', ...range(1, EVENTS)]);
    expect(seen(slow, 'b')).toEqual(['snapshot', 'decky.state', 'decky.state']);
    expect(slow.largest).toBeLessThan(2 * 64 * 1024 + 100);
    stalled.resume();
    await until('the other to notice', () => stalled.closed, LIMIT_MS);
    expect(seen(stalled, 'a').length).toBeLessThan(1 + EVENTS);
  },
  LIMIT_MS,
);

test(
  'a snapshot of megabytes comes whole, and does not hold up another stream of the same socket',
  async () => {
    const node = await plane.node();
    const [id, small] = [await topologyOfMegabytes(1, 8, '€"'.repeat(250_000)), await newTopology(plane)];
    const token = await plane.token(node.url);
    const sse = await clients.open(node, `/topologies/${id}/events`, { token });
    const expected = JSON.parse((await sse.untilEvent('snapshot')).data);
    const socket = await open(node, token);
    await socket.subscribe('a', `/topologies/${id}/events`);
    await socket.subscribe('b', `/topologies/${small}/events`);
    const [large] = [await socket.untilEvent('a', 'snapshot'), await socket.untilEvent('b', 'snapshot')];
    expect(large.data).toEqual(expected);
  },
  LIMIT_MS,
);

describe('a client that floods', () => {
  test(
    'and reads no answers is closed before those that wait cost more than they may',
    async () => {
      const node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
      const { token } = await newUser(plane, node);
      const [flooding, other] = [await openRaw(node, token), await open(node, token)];
      flooding.send({ op: 'subscribe', sid: 'a', stream: '/identities/events' });
      await until('its stream', () => flooding.messages.some(({ event }) => event === 'snapshot'));
      flooding.pause();
      const ping = { op: 'ping', ref: 'x'.repeat(64) };
      flooding.send(ping, PINGS);
      // Its slot is free when its socket is closed; others are served meanwhile.
      const isClosed = async () => (await other.subscribe('a', '/identities/events')).op === 'subscribed';
      await until('the end of its socket', isClosed, LIMIT_MS);
      flooding.resume();
      await until('it to notice', () => flooding.closed);
      expect(flooding.received).toBeLessThan(MOST_UNREAD_BYTES + KERNEL_BYTES);
      expect(PINGS * 80).toBeGreaterThan(MOST_UNREAD_BYTES + KERNEL_BYTES);
    },
    LIMIT_MS,
  );

  test('with more than it may have in flight is closed with a code, and so is one whose message is too large', async () => {
    const node = await plane.node();
    const token = await plane.token(node.url);
    const [many, large] = [await open(node, token), await open(node, token)];
    // Nothing is answered while Redis does not.
    await plane.redis.pause();
    const event = { topic: 'system.log', type: 'x', payload: { text: 'x'.repeat(1024 * 1024) } };
    for (let count = 0; count < 6; count += 1) many.send({ op: 'publish', event });
    expect(await many.untilClosed()).toEqual({ code: 4413, reason: 'flood' });
    plane.redis.resume();
    large.send({ op: 'publish', event: { ...event, payload: { text: 'x'.repeat(2 * 1024 * 1024) } } });
    expect((await large.untilClosed()).code).toBe(1009);
  });
});

describe('the cap on the streams of a user', () => {
  test('holds over sockets and EventSources; who resumes takes over the oldest, which is told', async () => {
    const node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '2' });
    const { token } = await newUser(plane, node);
    const [one, two] = [await newTopology(plane), await newTopology(plane)];
    const socket = await open(node, token);
    await socket.subscribe('a', `/topologies/${one}/events`);
    const sse = await clients.open(node, `/topologies/${two}/events`, { token });
    expect(sse.status).toBe(200);
    const refused = await socket.subscribe('b', `/topologies/${two}/events`);
    expect(refused).toMatchObject({ op: 'error', re: 'subscribe', sid: 'b', name: 'stream_limit', retry: true });
    expect((await clients.open(node, `/topologies/${one}/events`, { token })).status).toBe(429);
    // Coming back as an EventSource, with the cursor of the socket's stream.
    const { id: lastId = '' } = await socket.untilEvent('a', 'snapshot');
    const back = await clients.open(node, `/topologies/${one}/events`, { token, lastId });
    expect(back.status).toBe(200);
    const evicted = await socket.untilEvent('a', 'evicted');
    expect(evicted.id).toEndWith('.e');
    await socket.untilEvent('a', 'end');
    expect(socket.closed).toBeUndefined();
    // Freed by the end of another one.
    sse.close();
    await until(
      'a free slot',
      async () => (await socket.subscribe('b', `/topologies/${two}/events`)).op === 'subscribed',
    );
  });

  test('is given back by a client that goes before it has taken all of a finished answer, and its sid is not free sooner', async () => {
    const node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
    const { token } = await newUser(plane, node);
    const id = await topologyOfMegabytes(11, 18, 'x'.repeat(1024 * 1024));
    const [full, other] = [await openRaw(node, token), await open(node, token)];
    full.pause();
    full.send({ op: 'subscribe', sid: 'a', stream: `/topologies/${id}/events?once=1` });
    full.send({ op: 'subscribe', sid: 'a', stream: '/identities/events', ref: 'again' });
    const isFree = async () => (await other.subscribe('a', '/identities/events')).op === 'subscribed';
    await until('its slot to be taken', async () => {
      const isTaken = !(await isFree());
      if (!isTaken) await other.ask({ op: 'unsubscribe', sid: 'a' });
      return isTaken;
    });
    full.trickle(1);
    await until('an answer', () => full.messages.some(({ ref }) => ref === 'again'));
    expect(full.messages.find(({ ref }) => ref === 'again')).toMatchObject({ op: 'error', name: 'conflict' });
    full.close();
    await until('its slot', isFree);
  });

  test('is given back by unsubscribing and by closing the socket', async () => {
    const node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
    const { token } = await newUser(plane, node);
    const socket = await open(node, token);
    for (const sid of ['a', 'b', 'c']) {
      await until('a slot', async () => (await socket.subscribe(sid, '/identities/events')).op === 'subscribed');
      await socket.ask({ op: 'unsubscribe', sid });
    }
    await until('a slot', async () => (await socket.subscribe('d', '/identities/events')).op === 'subscribed');
    socket.close();
    const next = await open(node, token);
    await until('its slot', async () => (await next.subscribe('a', '/identities/events')).op === 'subscribed');
  });
});
