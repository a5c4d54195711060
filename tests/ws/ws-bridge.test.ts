import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { request } from 'node:http';
import type { App } from '../../src/main.ts';
import { Clients, mintTicket, newTopology, newUser, publishState, tokenOf } from '../integration/support.ts';
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

/** The status of a handshake that is refused, with the body. */
function handshake(headers: Record<string, string>): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(node.url);
  return new Promise((resolve, reject) => {
    const upgrade = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'sec-websocket-version': '13',
    };
    const call = request({ hostname, port, path: '/api/v1/ws', headers: { ...upgrade, ...headers } });
    call.on('response', (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    call.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, body: '' });
    });
    call.on('error', reject);
    call.end();
  });
}

describe('the handshake', () => {
  test.each(['https://evil.example', 'null', 'http://127.0.0.1', 'http://localhost:8081'])(
    'is refused to pages of %s before anything is opened, whatever they bring along',
    async (origin) => {
      const { status, body } = await handshake({ origin, authorization: `Bearer ${token}` });
      expect(status).toBe(403);
      expect(JSON.parse(body).detail).toContain('DECNET_CORS_ORIGINS');
    },
  );

  test('is open to pages of the listed origins, to its own, and to what is no page', async () => {
    for (const headers of [{ origin: 'http://localhost:8080' }, { origin: node.url }, {}]) {
      expect((await handshake(headers)).status).toBe(101);
    }
  });

  test('is asked for where there is none', async () => {
    const response = await fetch(`${node.url}/api/v1/ws`);
    expect(response.status).toBe(426);
    expect(await response.json()).toHaveProperty('detail');
  });
});

describe('signing in', () => {
  test('works by header, ticket, query and first message, and says who it is', async () => {
    const ticket = await mintTicket(node, token);
    for (const init of [{ token }, { query: `?ticket=${ticket}` }, { query: `?token=${token}` }, {}]) {
      const socket = await open(init);
      if (Object.keys(init).length === 0) socket.send({ op: 'auth', token });
      expect(await socket.untilAnswer('auth')).toMatchObject({ user: 'admin-user', role: 'admin' });
      expect(await socket.subscribe('a', '/identities/events')).toMatchObject({ op: 'subscribed' });
    }
    // Only once.
    const again = await open({ query: `?ticket=${ticket}` });
    expect(await again.untilClosed()).toEqual({ code: 4401, reason: 'unauthenticated' });
  });

  test('with something that does not hold closes the socket and says so', async () => {
    const forged = `${token.slice(0, -3)}abc`;
    for (const init of [{ headers: { authorization: `Bearer ${forged}` } }, { query: '?ticket=none' }, {}]) {
      const socket = await open(init);
      if (Object.keys(init).length === 0) socket.send({ op: 'auth', token: forged });
      expect(await socket.untilClosed()).toEqual({ code: 4401, reason: 'unauthenticated' });
      expect(socket.answers.at(-1)).toMatchObject({ op: 'error', re: 'auth', code: 4401, retry: false });
    }
  });

  test('comes before everything else', async () => {
    const socket = await open({});
    const { id } = await newUser(plane, node).then(({ uuid }) => ({ id: uuid }));
    for (const message of [
      { op: 'subscribe', sid: 'a', stream: '/identities/events' },
      { op: 'publish', event: { topic: 'system.log', type: 'x', payload: {} } },
    ]) {
      expect(await socket.ask(message)).toMatchObject({ op: 'error', name: 'unauthenticated', code: 4401 });
    }
    expect(await socket.ask({ op: 'ping' })).toMatchObject({ op: 'pong' });
    socket.send({ op: 'auth', token, note: id });
    await socket.untilAnswer('auth');
    expect(socket.closed).toBeUndefined();
  });

  test('that does not come is not waited for', async () => {
    const impatient = await plane.node({}, { DECNET_WS_AUTH_SECONDS: '1' });
    const [silent, signed] = [await open({}, impatient.url), await open({ token }, impatient.url)];
    expect(await silent.untilClosed()).toEqual({ code: 4408, reason: 'auth_timeout' });
    expect(await signed.ask({ op: 'ping' })).toMatchObject({ op: 'pong' });
  });

  test('of nobody allows few bytes: a large message is not even looked at', async () => {
    const socket = await open({});
    socket.send({ op: 'auth', token: 'x'.repeat(20_000) });
    expect(await socket.untilClosed()).toEqual({ code: 4413, reason: 'flood' });
  });
});

describe('a session', () => {
  test('that expires ends the socket, unless it was renewed: then its streams go on without a gap', async () => {
    const { uuid } = await newUser(plane, node);
    const id = await newTopology(plane);
    const short = { token: tokenOf(plane, uuid, { life: 2 }) };
    const [forgetful, renewed] = [await open(short), await open(short)];
    await renewed.subscribe('a', `/topologies/${id}/events`);
    expect(await renewed.ask({ op: 'auth', token: tokenOf(plane, uuid, {}) })).toMatchObject({ op: 'auth' });
    expect(await forgetful.untilClosed()).toEqual({ code: 4410, reason: 'session_ended' });
    // Each tick ends the streams whose session has expired: after the second one it would have been this.
    await forgetfulStream(uuid, id);
    await publishState(node, token, id, STATE(1));
    await renewed.untilEvent('a', 'decky.state');
    expect(renewed.of('a').map(({ event }) => event)).toEqual(['snapshot', 'decky.state']);
    expect(renewed.closed).toBeUndefined();
  });

  /** Resolves when a stream whose session lasts one second has ended. */
  async function forgetfulStream(uuid: string, id: string): Promise<void> {
    const path = `/topologies/${id}/events`;
    const client = await clients.open(node, path, { token: tokenOf(plane, uuid, { life: 1 }) });
    await client.untilEnded();
  }

  test('of another role ends the streams that showed what the former may see; they come back as the new one', async () => {
    const { uuid, token: before } = await newUser(plane, node, 'admin');
    const socket = await open({ token: before });
    await socket.subscribe('a', '/events?topics=system.>');
    await socket.untilEvent('a', 'ready');
    await plane.database.db.updateTable('users').set({ role: 'viewer' }).where('uuid', '=', uuid).execute();
    expect(await socket.ask({ op: 'auth', token: before })).toMatchObject({ op: 'auth', role: 'viewer' });
    await socket.untilEvent('a', 'end');
    await socket.subscribe('a', '/events?topics=system.>');
    await until('it to be open again', () => socket.named('a', 'ready').length === 2);
    const seen = socket.of('a').length;
    for (const topic of ['system.secret', 'system.log']) {
      await call(node.url, token, 'POST', '/events', { topic, payload: {} });
    }
    await until('what a viewer may see', () => socket.of('a').length > seen);
    expect(socket.of('a').at(-1)?.data.topic).toBe('system.log');
    expect(socket.of('a')).toHaveLength(seen + 1);
  });

  test('of another user does not take a socket over', async () => {
    const [mine, other] = [await newUser(plane, node), await newUser(plane, node)];
    const socket = await open({ token: mine.token });
    expect(await socket.ask({ op: 'auth', token: other.token })).toMatchObject({ op: 'error', name: 'forbidden' });
    expect(await socket.ask({ op: 'auth', token: 'none' })).toMatchObject({ op: 'error', name: 'unauthenticated' });
    expect(await socket.ask({ op: 'ping' })).toMatchObject({ op: 'pong' });
  });

  test('that is revoked ends the socket, with and without streams, and publishes nothing more', async () => {
    const { olderToken } = await newUser(plane, node, 'admin');
    const [idle, busy] = [await open({ token: olderToken }), await open({ token: olderToken })];
    await busy.subscribe('a', '/identities/events');
    await call(node.url, olderToken, 'POST', '/auth/logout');
    for (const socket of [idle, busy]) expect(await socket.untilClosed()).toMatchObject({ code: 4410 });
  });

  test('that is revoked where nobody has heard of it publishes nothing either', async () => {
    const { uuid, olderToken } = await newUser(plane, node, 'admin');
    const socket = await open({ token: olderToken });
    const event = { topic: 'system.log', type: 'x', payload: {} };
    expect(await socket.ask({ op: 'publish', event })).toMatchObject({ op: 'published' });
    await plane.database.db.updateTable('users').set({ role: 'viewer' }).where('uuid', '=', uuid).execute();
    expect(await socket.ask({ op: 'publish', event })).toMatchObject({ op: 'error', name: 'unauthenticated' });
  });
});

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
