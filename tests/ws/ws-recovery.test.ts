import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { Clients, newTopology, publishState, range } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';
import { insertTopology } from '../topology/support.ts';

const LIMIT_MS = 30_000;

let plane: Plane;
let node: App;
let token: string;
const sockets: WsClient[] = [];
const clients = new Clients();

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
  clients.close();
});
afterAll(() => plane.stop());

async function open(url = node.url): Promise<WsClient> {
  const socket = await WsClient.open(url, { token });
  sockets.push(socket);
  return socket;
}

const pathOf = (id: string) => `/topologies/${id}/events`;
const statesOf = (frames: readonly { readonly event?: string; readonly data: unknown }[]) =>
  frames.flatMap(({ event, data }) => {
    const { payload } = typeof data === 'string' ? JSON.parse(data) : data;
    return event === 'decky.state' ? [payload.state] : [];
  });

/** Publishes as soon as Redis takes it. */
async function publishSoon(id: string, state: string): Promise<void> {
  const body = { topic: 'decky.web-1.state', payload: { topology_id: id, state }, id: crypto.randomUUID() };
  await until('redis', async () => (await call(node.url, token, 'POST', '/events', body)).status === 202, LIMIT_MS);
}

test(
  'a socket’s stream and an EventSource’s see the same ids, through a restart of Redis too',
  async () => {
    const id = await newTopology(plane);
    const sse = await clients.open(node, pathOf(id), { token });
    const socket = await open();
    await socket.subscribe('a', pathOf(id));
    await Promise.all([sse.untilEvent('snapshot'), socket.untilEvent('a', 'snapshot')]);
    for (const n of range(1, 5)) await publishState(node, token, id, `state ${n}`);
    await until('five events', () => statesOf(socket.of('a')).length === 5);
    await plane.redis.down();
    const late = await open();
    await late.subscribe('a', pathOf(id), socket.of('a')[2]?.id);
    await plane.redis.up();
    for (const n of range(6, 9)) await publishSoon(id, `state ${n}`);
    await until('the rest', () => statesOf(socket.of('a')).length === 9 && statesOf(sse.frames).length === 9);
    const told = socket
      .of('a')
      .map(({ id: cursor, event, data }) => ({ id: cursor, event, data: JSON.stringify(data) }));
    expect(told).toEqual(sse.frames.map(({ id: cursor, event, data }) => ({ id: cursor, event, data })));
    expect(statesOf(socket.of('a'))).toEqual(range(1, 9).map((n) => `state ${n}`));
    // One that subscribed while Redis was away, with a cursor: exactly what comes after it.
    await until('what it missed', () => statesOf(late.of('a')).length === 7);
    expect(late.of('a').map(({ event }) => event)).toEqual(['resumed', ...range(3, 9).map(() => 'decky.state')]);
  },
  LIMIT_MS,
);

test('a client moves with its cursor from one to the other and back, and misses and repeats nothing', async () => {
  for (const stream of [pathOf(await newTopology(plane)), '/events?topics=decky.*.state']) {
    const id = stream.split('/')[2] ?? '';
    const publishTo = (n: number) => publishState(node, token, id === '' ? 'none' : id, `state ${n}`);
    const states: string[] = [];
    let cursor: string | undefined;
    let n = 0;
    for (const turn of range(1, 6)) {
      const opening = turn === 1 ? /^(snapshot|ready)$/ : /^resumed$/;
      const isSocket = turn % 2 === 1;
      if (isSocket) {
        const socket = await open();
        await socket.subscribe('a', stream, cursor);
        const first = await until('the opening', () => socket.of('a')[0]);
        expect(first.event).toMatch(opening);
        await publishTo(n + 1);
        await until('everything so far', () => socket.of('a').length === (turn === 1 ? 2 : 3));
        states.push(
          ...socket
            .of('a')
            .slice(1)
            .map(({ data }) => data.payload.state),
        );
        cursor = socket.of('a').at(-1)?.id;
        socket.close();
      } else {
        const sse = await clients.open(node, stream, { token, ...(cursor === undefined ? {} : { lastId: cursor }) });
        expect((await until('the opening', () => sse.frames[0])).event).toMatch(opening);
        await publishTo(n + 1);
        await until('everything so far', () => sse.frames.length === 3);
        states.push(...sse.frames.slice(1).map(({ data }) => JSON.parse(data).payload.state));
        cursor = sse.lastId;
        sse.close();
      }
      n += 1;
      if (turn < 6) {
        await publishTo(n + 1); // While it is nowhere.
        n += 1;
      }
    }
    expect(states).toEqual(range(1, n).map((number) => `state ${number}`));
  }
});

test(
  'a node that is killed is left with the cursor, and nothing is missed on another, by socket or EventSource',
  async () => {
    const doomed = await plane.child();
    const id = await newTopology(plane);
    const socket = await open(doomed.url);
    await socket.subscribe('a', pathOf(id));
    await socket.untilEvent('a', 'snapshot');
    for (const n of range(1, 3)) await publishState(node, token, id, `state ${n}`);
    await until('three events', () => statesOf(socket.of('a')).length === 3);
    await doomed.kill();
    expect((await socket.untilClosed()).code).toBe(1006);
    for (const n of range(4, 6)) await publishState(node, token, id, `state ${n}`);
    const cursor = socket.of('a').at(-1)?.id ?? '';
    const [next, sse] = [await open(), await clients.open(node, pathOf(id), { token, lastId: cursor })];
    await next.subscribe('a', pathOf(id), cursor);
    await until('the rest', () => statesOf(next.of('a')).length === 3 && statesOf(sse.frames).length === 3);
    expect(statesOf(next.of('a'))).toEqual(['state 4', 'state 5', 'state 6']);
    expect(next.of('a').map((frame) => frame.id)).toEqual(sse.frames.map((frame) => frame.id));
  },
  LIMIT_MS,
);

test('a cursor that is none is answered by a reset and a snapshot, as on an EventSource', async () => {
  const id = await newTopology(plane);
  const socket = await open();
  await socket.subscribe('a', pathOf(id), 'nonsense');
  await socket.subscribe('b', pathOf(id), 'k3v9aaaa.7.00000000');
  await socket.untilEvent('b', 'snapshot');
  expect(socket.of('a')).toMatchObject([{ event: 'reset', data: { reason: 'malformed' } }, { event: 'snapshot' }]);
  expect(socket.of('b')).toMatchObject([{ event: 'reset', data: { reason: 'epoch' } }, { event: 'snapshot' }]);
});

test('a stream that is asked for once ends by itself, and so does one whose topology is deleted', async () => {
  const socket = await open();
  const [once, gone] = [await newTopology(plane), crypto.randomUUID()];
  await insertTopology(plane.database.db, gone, { status: 'torn_down' });
  await publishState(node, token, once, 'past');
  await socket.subscribe('a', `${pathOf(once)}?once=1`);
  await socket.subscribe('b', pathOf(gone));
  await socket.untilEvent('a', 'end');
  expect(socket.of('a').map(({ event }) => event)).toEqual(['snapshot', 'end']);
  await socket.untilEvent('b', 'snapshot');
  expect((await call(node.url, token, 'DELETE', `/topologies/${gone}`)).ok).toBe(true);
  await socket.untilEvent('b', 'end');
  const again = await socket.subscribe('b', pathOf(gone));
  expect(again).toMatchObject({ op: 'error', sid: 'b', name: 'not_found', code: 4404 });
});

test('streams that are cut end and say so; the socket stays, and they go on with their cursors', async () => {
  const id = await newTopology(plane);
  const mine = await plane.token(node.url, 'admin', 'cutter');
  const socket = await WsClient.open(node.url, { token: mine });
  sockets.push(socket);
  for (const sid of ['a', 'b']) await socket.subscribe(sid, pathOf(id));
  await Promise.all(['a', 'b'].map((sid) => socket.untilEvent(sid, 'snapshot')));
  const answer = await call(node.url, mine, 'POST', '/streams/cut');
  expect(JSON.parse(await answer.text())).toEqual({ cut: 2 });
  for (const sid of ['a', 'b']) {
    expect(await socket.untilEvent(sid, 'end')).toMatchObject({ data: { dropped: true } });
  }
  await publishState(node, token, id, 'missed');
  expect(await socket.subscribe('a', pathOf(id), socket.named('a', 'snapshot')[0]?.id)).toMatchObject({
    op: 'subscribed',
  });
  await until('what was missed', () => statesOf(socket.of('a')).length === 1);
  expect(socket.of('a').map(({ event }) => event)).toEqual(['snapshot', 'end', 'resumed', 'decky.state']);
});

describe('a node that stops', () => {
  test('says bye on every socket, acknowledges what was published, and clients go on elsewhere', async () => {
    const leaving = await plane.node();
    const id = await newTopology(plane);
    const socket = await open(leaving.url);
    await socket.subscribe('a', pathOf(id));
    await socket.untilEvent('a', 'snapshot');
    const events = range(1, 50).map((n) => ({
      topic: 'decky.web-1.state',
      payload: { topology_id: id, state: `state ${n}` },
    }));
    for (const event of events) socket.send({ op: 'publish', event });
    await socket.untilAnswer('published');
    const stopping = leaving.stop();
    expect(await socket.untilClosed()).toEqual({ code: 1012, reason: 'restart' });
    const bye = socket.answers.find(({ op }) => op === 'bye');
    expect(bye?.retry_ms).toBeGreaterThan(0);
    await stopping;
    const acknowledged = socket.answers.filter(({ op }) => op === 'published').length;
    const seen = statesOf(socket.of('a'));
    const next = await open();
    await next.subscribe('a', pathOf(id), socket.of('a').findLast((frame) => frame.id !== undefined)?.id);
    await until('the rest', () => statesOf(next.of('a')).length + seen.length >= acknowledged);
    const all = [...seen, ...statesOf(next.of('a'))];
    expect(all).toEqual(range(1, all.length).map((n) => `state ${n}`));
  });
});

describe('what is no message of the protocol', () => {
  test.each([
    ['text that is no JSON', '{"op":', 'bad_request'],
    ['a list', '[1]', 'bad_request'],
    ['a number', '7', 'bad_request'],
    ['an unknown op', '{"op":"drop"}', 'bad_request'],
    ['none', '{"sid":"a"}', 'bad_request'],
    ['one that nests too deep', `{"op":"ping","x":${'['.repeat(1000)}${']'.repeat(1000)}}`, 'invalid'],
    ['one of too many values', `{"op":"ping","x":[${'[],'.repeat(60_000)}0]}`, 'invalid'],
    ['a token of another type', '{"op":"auth","token":7}', 'invalid'],
    ['a sid of another type', '{"op":"subscribe","sid":7,"stream":"/identities/events"}', 'invalid'],
    ['a long sid', `{"op":"subscribe","sid":"${'x'.repeat(65)}","stream":"/identities/events"}`, 'invalid'],
    ['a stream of another type', '{"op":"subscribe","sid":"a","stream":{}}', 'invalid'],
    ['a cursor of another type', '{"op":"subscribe","sid":"a","stream":"/identities/events","cursor":7}', 'invalid'],
    ['an unknown stream', '{"op":"subscribe","sid":"a","stream":"/users"}', 'not_found'],
    ['another path', '{"op":"subscribe","sid":"a","stream":"/topologies//events"}', 'not_found'],
    ['a bad escape', '{"op":"subscribe","sid":"a","stream":"/topologies/%E0%A4%A/events"}', 'not_found'],
    ['a topology that is not there', '{"op":"subscribe","sid":"a","stream":"/topologies/none/events"}', 'not_found'],
    ['a bad pattern', '{"op":"subscribe","sid":"a","stream":"/events?topics=a..b"}', 'invalid'],
    ['an unknown sid', '{"op":"unsubscribe","sid":"a"}', 'not_found'],
    ['NUL', '{"op":"subscribe","sid":"a","stream":"/topologies/a%00b/events"}', 'not_found'],
  ])('%s is refused with a reason, and the socket goes on', async (_what, text, name) => {
    const socket = await open();
    socket.send(text);
    const error = await socket.untilAnswer('error');
    expect(error).toMatchObject({ name, retry: false });
    expect(error.detail).toBeString();
    expect(await socket.ask({ op: 'ping' })).toMatchObject({ op: 'pong' });
  });

  test('so are bytes, and a sid that is in use', async () => {
    const socket = await open();
    socket.sendBytes(new Uint8Array([123, 125]));
    expect(await socket.untilAnswer('error')).toMatchObject({ name: 'bad_request' });
    await socket.subscribe('a', '/identities/events');
    expect(await socket.subscribe('a', '/identities/events')).toMatchObject({ op: 'error', name: 'conflict' });
    expect(await socket.ask({ op: 'ping' })).toMatchObject({ op: 'pong' });
  });
});
