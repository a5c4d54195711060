import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import specification from '@asyncapi/specs/schemas/3.0.0-without-$id.json';
import Ajv from 'ajv';
import addFormats from 'ajv-formats';
import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { topics } from '../../src/bus/topic.ts';
import type { App } from '../../src/main.ts';
import { WS_CODES } from '../../src/ws/ws-codes.ts';
import { Clients, newTopology, publish, publishState } from '../integration/support.ts';
import { refsOf, validatorOf } from '../openapi/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';

interface AsyncApiDocument {
  readonly channels: Readonly<
    Record<string, { readonly address: string; readonly messages: Readonly<Record<string, object>> }>
  >;
}

let plane: Plane;
let node: App;
let token: string;
let document: AsyncApiDocument;
let validator: ReturnType<typeof validatorOf>;
const clients = new Clients();

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
  document = JSON.parse(await (await fetch(`${node.url}/asyncapi`)).text());
  validator = validatorOf(document);
});
afterAll(async () => {
  clients.close();
  await plane.stop();
});

describe('the document', () => {
  test('is valid AsyncAPI 3', () => {
    const ajv = new Ajv({ strict: false, allErrors: true });
    addFormats(ajv);
    const isValid = ajv.validate(specification, document);
    expect((ajv.errors ?? []).slice(0, 5)).toEqual([]);
    expect(isValid).toBe(true);
  });

  test('refers only to what it holds', () => {
    const missing = refsOf(document).filter((ref) => {
      const names = ref.slice(2).split('/');
      return names.reduce<unknown>((found, name) => Object(found)[name], document) === undefined;
    });
    expect(missing).toEqual([]);
  });

  test('has every stream that is served, every family of topics, and the codes of the socket', () => {
    const streams = node.routes.filter(({ path }) => path.startsWith('/api/v1/') && path.endsWith('/events'));
    const addresses = Object.values(document.channels).map(({ address }) => address);
    for (const { path } of streams) {
      expect(addresses).toContain(path.slice('/api/v1'.length).replace(/:(\w+)/g, '{$1}'));
    }
    const families = Object.keys(topics).map((name) => `topic-${name}`);
    expect(Object.keys(document.channels)).toEqual(expect.arrayContaining(families));
    expect(document.channels['topic-topologyMutation']).toMatchObject({
      address: 'topology.{topology_id}.mutation.{state}',
      'x-log-channels': ['topology.{topology_id}', LOG_CHANNEL],
    });
    expect(document.channels['topic-decky']).toMatchObject({
      'x-log-channels': ['decky', 'topology.{topology_id}', LOG_CHANNEL],
    });
    expect(document.channels['topic-credential']).toMatchObject({ 'x-streams': { events: ['admin'] } });
    expect(document.channels.socket).toMatchObject({ 'x-codes': WS_CODES });
  });

  test('says what a snapshot holds, of every stream that has one', () => {
    const unknown = Object.entries(document.channels).filter(([name, { messages }]) => {
      const { snapshot } = messages;
      return name.startsWith('stream-') && snapshot !== undefined && !('properties' in Object(snapshot).payload);
    });
    expect(unknown).toEqual([]);
  });
});

/** What is wrong with a message, by every message of a channel that it might be; nothing when it is one of them. */
function problemsOf(channel: string, names: readonly string[], value: unknown): string[] {
  const all = names.map((name) => validator.problems(['channels', channel, 'messages', name, 'payload'], value));
  return all.some((problems) => problems.length === 0) ? [] : all.flat().slice(0, 10);
}

describe('server-sent events', () => {
  /** Every frame of a stream is the message of its name, or an event. @returns the names */
  function checked(channel: string, client: SseClient): string[] {
    const messages = document.channels[channel]?.messages ?? {};
    return client.frames.map(({ id, event, data }) => {
      const name = Object.hasOwn(messages, event) ? event : 'event';
      const pointer = ['channels', channel, 'messages', name];
      expect({ event, problems: problemsOf(channel, [name], JSON.parse(data)) }).toEqual({ event, problems: [] });
      const headers = { ...(id === '' ? {} : { id }), event };
      expect({ event, problems: validator.problems([...pointer, 'headers'], headers) }).toEqual({
        event,
        problems: [],
      });
      return name;
    });
  }

  test('of a topology are as they are described', async () => {
    const topology = await newTopology(plane);
    const path = `/topologies/${topology}/events`;
    const fresh = await clients.open(node, path, { token });
    await publishState(node, token, topology, 'one');
    await fresh.untilEvent('decky.state');
    const resumed = await clients.open(node, path, { token, lastId: fresh.lastId });
    await resumed.untilEvent('resumed');
    const reset = await clients.open(node, path, { token, lastId: 'zzzzzzzz.7.0a1b2c3d' });
    await reset.untilEvent('snapshot');

    expect(checked('stream-topology', fresh)).toEqual(['snapshot', 'event']);
    expect(checked('stream-topology', resumed)).toEqual(['resumed']);
    expect(checked('stream-topology', reset)).toEqual(['reset', 'snapshot']);
  });

  test('of identities and of patterns are as they are described', async () => {
    const identities = await clients.open(node, '/identities/events', { token });
    await identities.untilEvent('snapshot');
    const events = await clients.open(node, '/events?topics=canary.>', { token });
    await events.untilEvent('ready');
    // Not shown, so that the id moves on without an event; then one that is.
    await publish(node, token, 'attacker.seen');
    await events.untilEvent('position');
    await publish(node, token, 'canary.t1.touched', { note: 'x' });
    await events.untilEvent('message');

    expect(checked('stream-identity', identities)).toEqual(['snapshot']);
    expect(checked('stream-events', events)).toEqual(['ready', 'position', 'event']);
  });

  test('of a client whose slot is taken are as they are described', async () => {
    const strict = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '1' });
    const viewer = await plane.token(strict.url, 'viewer');
    const first = await clients.open(strict, '/identities/events', { token: viewer });
    await first.untilEvent('snapshot');
    await clients.open(strict, '/identities/events', { token: viewer, lastId: first.lastId });
    await first.untilEvent('evicted');
    expect(checked('stream-identity', first)).toEqual(['snapshot', 'evicted']);
  });
});

describe('the WebSocket', () => {
  const namesOf = (prefix: string) =>
    Object.keys(document.channels.socket?.messages ?? {}).filter((name) => name.startsWith(prefix));

  /** Every message that came is one of those described. @returns the names of those that some message was */
  function heard(client: WsClient): Set<string> {
    const names = [...namesOf('server-'), ...namesOf('frame-')];
    const seen = new Set<string>();
    for (const text of client.texts) {
      const message: unknown = JSON.parse(text);
      const matching = names.filter((name) => problemsOf('socket', [name], message).length === 0);
      expect({ text: text.slice(0, 300), matching }).toEqual({
        text: text.slice(0, 300),
        matching: [expect.any(String)],
      });
      for (const name of matching) seen.add(name);
    }
    return seen;
  }

  test('says what is described, all of it and nothing else; what clients say is described, too', async () => {
    const leaving = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '3' });
    const topology = await newTopology(plane);
    const admin = await plane.token(leaving.url, 'admin', 'socket-admin');
    const path = `/topologies/${topology}/events`;
    const client = await WsClient.open(leaving.url);
    const said: object[] = [];
    const ask = (message: object) => {
      said.push(message);
      return client.ask(message);
    };

    await ask({ op: 'auth', token: admin });
    await ask({ op: 'ping' });
    await ask({ op: 'subscribe', sid: 'a', stream: path });
    const event = { topic: 'decky.web-1.state', type: 'state', payload: { topology_id: topology, state: 'one' } };
    await ask({ op: 'publish', event });
    const { id } = await client.untilEvent('a', 'decky.state');
    await ask({ op: 'publish', events: [{ ...event, id: 'twice' }, { topic: 'a..b' }] });
    await ask({ op: 'unsubscribe', sid: 'a' });
    await ask({ op: 'subscribe', sid: 'b', stream: path, cursor: id });
    await ask({ op: 'subscribe', sid: 'b', stream: path });
    await ask({ op: 'unsubscribe', sid: 'b' });
    await ask({ op: 'subscribe', sid: 'c', stream: `${path}?once=1`, cursor: 'zzzzzzzz.7.0a1b2c3d' });
    await client.untilEvent('c', 'end');
    await ask({ op: 'subscribe', sid: 'd', stream: '/events?topics=canary.>', cursor: null });
    await publish(leaving, admin, 'attacker.seen');
    await client.untilEvent('d', 'position');
    // Larger than one message may be.
    await ask({
      op: 'publish',
      event: { topic: 'canary.t1.touched', type: '', payload: { note: 'x'.repeat(100_000) } },
    });
    await until('the large event', () => client.of('d').find(({ event: name }) => name === undefined));
    await ask({ op: 'subscribe', sid: 'e', stream: '/identities/events' });
    const { id: place } = await client.untilEvent('e', 'snapshot');
    await ask({ op: 'subscribe', sid: 'f', stream: '/identities/events' });
    await ask({ op: 'subscribe', sid: 'g', stream: '/identities/events', cursor: place });
    await client.untilEvent('e', 'evicted');
    await leaving.stop();
    await client.untilClosed();

    expect([...heard(client)].sort()).toEqual([...namesOf('server-'), ...namesOf('frame-')].sort());
    const toServer = said.map((message) => problemsOf('socket', namesOf('client-'), message));
    expect(toServer.flat()).toEqual([]);
  });
});
