import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { Clients, eventsOf, mintTicket, newTopology, newUser, publishState, tokenOf } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';

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

async function open(init: Parameters<typeof WsClient.open>[1] = { token }, url = node.url): Promise<WsClient> {
  const socket = await WsClient.open(url, init);
  sockets.push(socket);
  return socket;
}

const STATE = (number: number) => `state ${number}`;

describe('a socket', () => {
  test('carries several streams, each frame what an EventSource gets, until it is unsubscribed', async () => {
    const [one, other] = [await newTopology(plane), await newTopology(plane)];
    const sse = await clients.open(node, `/topologies/${one}/events`, { token });
    await sse.untilEvent('snapshot');
    const socket = await open();
    expect(socket.answers[0]).toMatchObject({ op: 'hello', version: 1 });
    expect(await socket.subscribe('a', `/topologies/${one}/events`)).toMatchObject({ op: 'subscribed', sid: 'a' });
    await socket.subscribe('b', `/topologies/${other}/events`);
    await socket.subscribe('all', '/events?topics=decky.>');
    await socket.untilEvent('b', 'snapshot');
    await socket.untilEvent('all', 'ready');
    for (const number of [1, 2, 3]) await publishState(node, token, one, STATE(number));
    await publishState(node, token, other, STATE(4));
    await until('all frames', () => socket.frames.length === 4 + 2 + 5 && sse.frames.length === 4);
    const mine = socket.of('a').map(({ id, event, data }) => ({ id, event, data: JSON.stringify(data) }));
    expect(mine).toEqual(sse.frames.map(({ id, event, data }) => ({ id, event, data })));
    expect(socket.of('b').map(({ event }) => event)).toEqual(['snapshot', 'decky.state']);
    expect(socket.of('all')).toHaveLength(5);
    expect(await socket.ask({ op: 'unsubscribe', sid: 'a' })).toMatchObject({ op: 'unsubscribed', sid: 'a' });
    await publishState(node, token, one, STATE(5));
    await until('the other stream', () => socket.of('all').length === 6);
    expect(socket.of('a')).toHaveLength(4);
    expect(await socket.subscribe('a', `/topologies/${one}/events`, mine.at(-1)?.id)).toMatchObject({ sid: 'a' });
    await until('what it missed', () => socket.of('a').length === 6);
    expect(socket.of('a').map(({ event }) => event)).toEqual([
      'snapshot',
      ...['decky.state', 'decky.state', 'decky.state'],
      ...['resumed', 'decky.state'],
    ]);
  });

  test('answers a ping', async () => {
    const socket = await open();
    expect(await socket.ask({ op: 'ping' })).toMatchObject({ op: 'pong' });
  });
});
