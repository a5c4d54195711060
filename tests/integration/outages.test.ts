import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { keys } from '../../src/bus/keys.ts';
import { describeError } from '../../src/errors.ts';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import type { ReceivedFrame, SseClient } from '../support/sse-client.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import {
  Clients,
  enqueue,
  eventsOf,
  groupsOf,
  newTopology,
  offsetsOf,
  publishState,
  range,
  refusal,
} from './support.ts';

const LIMIT_MS = 30_000;

const clients = new Clients();
let plane: Plane;
let node: App;
let token: string;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

async function openTopology(id: string, lastId?: string): Promise<SseClient> {
  const client = await clients.open(node, `/topologies/${id}/events`, {
    token,
    ...(lastId === undefined ? {} : { lastId }),
  });
  expect(client.status).toBe(200);
  return client;
}

/** A client that has seen the states `state 1` to `state <count>` of a new topology. */
async function watched(count: number) {
  const id = await newTopology(plane);
  const client = await openTopology(id);
  await client.untilEvent('snapshot');
  for (const number of range(1, count)) await publishState(node, token, id, `state ${number}`);
  await client.untilFrames(1 + count);
  return { id, client };
}

const cursorAt = ({ frames, lastId }: SseClient, offset: number): string => {
  const [epoch] = lastId.split('.');
  return frames.findLast(({ id }) => id.startsWith(`${epoch}.${offset}.`))?.id ?? '';
};
const namesOf = (frames: readonly ReceivedFrame[]) =>
  eventsOf(frames).map(({ data }) => JSON.parse(data).payload.payload.name);
const readiness = async () => (await fetch(`${node.url}/readyz`)).status;

describe('with Redis down', () => {
  test(
    'streams stay open, state changes are accepted, and all of it arrives once and in order',
    async () => {
      const id = await newTopology(plane);
      const before = await openTopology(id);
      const everything = await clients.open(node, '/events?topics=topology.>', { token });
      await before.untilEvent('snapshot');
      await everything.untilEvent('ready');
      await enqueue(node, token, id, 'lan 1');
      await before.untilFrames(2);
      await everything.untilFrames(2);
      expect(await readiness()).toBe(200);

      await plane.redis.down();
      const keptAlive = before.comments.length;
      for (const number of [2, 3, 4]) await enqueue(node, token, id, `lan ${number}`);
      const [fresh, returning] = await Promise.all([openTopology(id), openTopology(id, before.lastId)]);
      const refused = await call(node.url, token, 'POST', '/events', { topic: 'decky.web-1.state', payload: {} });
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await refusal(refused)).toMatchObject({ status: 503 });
      expect(await readiness()).toBe(503);
      expect((await fetch(`${node.url}/healthz`)).status).toBe(200);
      const snapshot = await fresh.untilEvent('snapshot');
      expect(snapshot.id).toBe('');
      expect(JSON.parse(snapshot.data).in_flight).toHaveLength(4);
      await until('keepalives', () => before.comments.length >= keptAlive + 2 && fresh.comments.length >= 3);
      expect(before.frames).toHaveLength(2);
      expect(returning.frames).toHaveLength(0);

      await plane.redis.up();
      await until('readiness', async () => (await readiness()) === 200);
      await fresh.untilFrames(2);
      await enqueue(node, token, id, 'lan 5');
      const inOrder = range(1, 5).map((number) => `lan ${number}`);
      for (const client of [before, everything]) {
        await client.untilFrames(6);
        expect(client.ended).toBe(false);
        expect(namesOf(client.frames)).toEqual(inOrder);
      }
      expect(offsetsOf(before.frames)).toEqual(range(0, 5));
      await returning.untilFrames(5);
      expect(returning.frames[0]).toMatchObject({ event: 'resumed', id: cursorAt(before, 1) });
      expect(namesOf(returning.frames)).toEqual(inOrder.slice(1));
      // What its second snapshot, the one with a position, contains is not told again.
      await until('the fifth mutation', () => namesOf(fresh.frames).length > 0);
      expect(fresh.named('snapshot')).toHaveLength(2);
      expect(JSON.parse(fresh.named('snapshot')[1]?.data ?? '').in_flight).toHaveLength(4);
      expect(namesOf(fresh.frames)).toEqual(['lan 5']);
    },
    LIMIT_MS,
  );
  test(
    'a cursor that is none is told so before its snapshot, and not again when Redis is back',
    async () => {
      const id = await newTopology(plane);
      const expected = ['reset', 'snapshot', 'snapshot', 'decky.state'];
      await plane.redis.down();
      const stranger = await openTopology(id, 'no-cursor');
      await stranger.untilFrames(2);
      expect(stranger.frames.map(({ event }) => event)).toEqual(expected.slice(0, 2));
      expect(JSON.parse(stranger.frames[0]?.data ?? '')).toEqual({ reason: 'malformed' });
      const once = await clients.open(node, `/topologies/${id}/events?once=1`, { token, lastId: 'no-cursor' });
      await once.untilEnded();
      expect(once.frames.map(({ event }) => event)).toEqual(expected.slice(0, 2));
      await plane.redis.up();
      await until('readiness', async () => (await readiness()) === 200);
      await stranger.untilFrames(3);
      await publishState(node, token, id, 'up');
      await stranger.untilEvent('decky.state');
      expect(stranger.frames.map(({ event }) => event)).toEqual(expected);
      expect(stranger.named('snapshot').map(({ id }) => id !== 'no-cursor')).toEqual([false, true]);
    },
    LIMIT_MS,
  );
});

describe('with its data gone from Redis', () => {
  test('FLUSHALL: every stream is reset with a new epoch, and no earlier cursor is taken for one of it', async () => {
    const { id, client } = await watched(3);
    const everything = await clients.open(node, '/events?topics=decky.>', { token });
    await everything.untilEvent('ready');
    const away = cursorAt(client, 2);
    await plane.redis.client().flushall();
    const [snapshot, ready] = [
      await until('a second snapshot', () => client.named('snapshot')[1]),
      await until('a second ready', () => everything.named('ready')[1]),
    ];
    for (const { frames } of [client, everything]) {
      expect(frames.at(-2)).toMatchObject({ event: 'reset', data: JSON.stringify({ reason: 'epoch' }) });
    }
    const epochOf = (frame: ReceivedFrame) => frame.id.split('.')[0] ?? '';
    expect(epochOf(snapshot)).toBe(epochOf(ready));
    expect(away).not.toStartWith(epochOf(snapshot));

    for (const number of range(1, 3)) await publishState(node, token, id, `again ${number}`);
    const back = await openTopology(id, away);
    await back.untilFrames(2);
    expect(back.frames.map(({ event }) => event)).toEqual(['reset', 'snapshot']);
    expect(JSON.parse(back.frames[0]?.data ?? '')).toEqual({ reason: 'epoch' });
    await client.untilFrames(9);
    expect(offsetsOf(client.frames.slice(-3))).toEqual([1, 2, 3]);
  });

  test('a trimmed stream: what is complete is resumed, what is not is reset', async () => {
    const { id, client } = await watched(5);
    await plane.redis.client().xtrim(keys.stream(`topology.${id}`), 'MINID', '4-0');
    const incomplete = await openTopology(id, cursorAt(client, 2));
    await incomplete.untilFrames(2);
    expect(incomplete.frames.map(({ event }) => event)).toEqual(['reset', 'snapshot']);
    expect(JSON.parse(incomplete.frames[0]?.data ?? '')).toEqual({ reason: 'trimmed' });
    expect(offsetsOf(incomplete.named('snapshot'))).toEqual([5]);
    const complete = await openTopology(id, cursorAt(client, 3));
    await complete.untilFrames(3);
    expect(complete.named('resumed')).toHaveLength(1);
    expect(offsetsOf(eventsOf(complete.frames))).toEqual([4, 5]);
    await publishState(node, token, id, 'state 6');
    await client.untilFrames(7);
    expect(offsetsOf(client.frames)).toEqual(range(0, 6));
  });

  test('a deleted stream: those who have everything go on, the others are reset', async () => {
    const { id, client } = await watched(3);
    const redis = plane.redis.client();
    await redis.del(keys.stream(`topology.${id}`));
    const complete = await openTopology(id, cursorAt(client, 3));
    const incomplete = await openTopology(id, cursorAt(client, 1));
    await complete.untilFrames(1);
    await incomplete.untilFrames(2);
    expect(JSON.parse(incomplete.frames[0]?.data ?? '')).toEqual({ reason: 'trimmed' });
    for (const number of range(4, 6)) await publishState(node, token, id, `state ${number}`);
    await client.untilFrames(7);
    await complete.untilFrames(4);
    await incomplete.untilFrames(5);
    // The groups were deleted with the stream: the checkpoint finds out and makes new ones.
    await until('groups anew', async () => (await groupsOf(redis, id)).length === 3);
    await publishState(node, token, id, 'state 7');
    await client.untilFrames(8);
    await complete.untilFrames(5);
    await incomplete.untilFrames(6);
    expect(offsetsOf(client.frames)).toEqual(range(0, 7));
    expect(offsetsOf(complete.frames)).toEqual(range(3, 7));
    expect(offsetsOf(eventsOf(incomplete.frames))).toEqual(range(4, 7));
  });
});

test(
  'with the database down, running streams go on and new ones are refused by 503 until it is back',
  async () => {
    const own = await createPlane('postgres');
    const url = new URL(own.database.url);
    const proxy = await startTcpProxy(addressOf(url));
    url.host = `127.0.0.1:${proxy.port}`;
    const cutOff = await own.node({}, { DATABASE_URL: url.href });
    const healthy = await own.node();
    const ownToken = await own.token(healthy.url);
    const path = `/topologies/${await newTopology(own)}/events`;
    const id = path.split('/')[2] ?? '';
    const client = await clients.open(cutOff, path, { token: ownToken });
    await client.untilEvent('snapshot');

    // A connection that breaks while a query is under way must not take the process with it.
    const underWay = sql`select pg_sleep(60)`.execute(cutOff.db).catch(describeError);
    await until('the query to run', async () => {
      const running = sql`select 1 from pg_stat_activity where query like 'select pg_sleep(%' and datname = current_database()`;
      return (await running.execute(healthy.db)).rows.length > 0;
    });
    await proxy.cut();
    expect(await underWay).toContain('terminated');
    for (const stream of [path, '/events?topics=>']) {
      const { response } = await clients.open(cutOff, stream, { token: ownToken });
      expect(Number(response?.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await refusal(response)).toMatchObject({ status: 503 });
    }
    await enqueue(healthy, ownToken, id);
    await client.untilEvent('mutation.enqueued');
    const keptAlive = client.comments.length;
    await until('a keepalive', () => client.comments.length > keptAlive);

    await proxy.restore();
    await until('a new stream', async () => (await clients.open(cutOff, path, { token: ownToken })).status === 200);
    await enqueue(healthy, ownToken, id);
    await client.untilFrames(3);
    expect(offsetsOf(client.frames)).toEqual([0, 1, 2]);
    clients.close();
    await own.stop();
    await proxy.cut();
  },
  LIMIT_MS,
);

/** Where PostgreSQL listens: `./scripts/test` starts it on a UNIX socket, whose folder stands for the host. */
function addressOf(url: URL): { path: string } | { host: string; port: number } {
  const host = decodeURIComponent(url.hostname);
  const port = Number(url.port || '5432');
  return host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port };
}
