import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { Clients, enqueue, groupsOf, newTopology, newUser, publishState, range } from './support.ts';

const LIMIT_MS = 30_000;

const clients = new Clients();
let plane: Plane;
let node: App;
let token: string;
let redis: Redis;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
  redis = plane.redis.client();
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

async function openStreams(count: number, id: string, from: { url: string } = node, bearer = token) {
  const opened = await Promise.all(
    range(1, count).map(() => clients.open(from, `/topologies/${id}/events`, { token: bearer })),
  );
  for (const client of opened) await client.untilEvent('snapshot');
  return opened;
}

describe('a connection', () => {
  test('has a consumer group of its own as long as it is open, and it follows what was sent', async () => {
    const id = await newTopology(plane);
    const [first, second] = await openStreams(2, id);
    const groups = await until('two groups', async () => {
      const found = await groupsOf(redis, id);
      return found.length === 2 && found;
    });
    expect(new Set(groups.map(({ name }) => name)).size).toBe(2);
    for (const { name } of groups) expect(name).toMatch(/^sse:/);

    for (const number of range(1, 3)) await publishState(node, token, id, `state ${number}`);
    await until('the checkpoint', async () => (await groupsOf(redis, id)).every(({ position }) => position === '3-0'));
    first?.close();
    await until('one group', async () => (await groupsOf(redis, id)).length === 1);
    second?.close();
    await until('no group', async () => (await groupsOf(redis, id)).length === 0);
  });

  test('costs no connection to Redis', async () => {
    const id = await newTopology(plane);
    const count = async () =>
      String(await redis.client('LIST'))
        .trim()
        .split('\n').length;
    await openStreams(1, id);
    const before = await count();
    await openStreams(99, id);
    await until('a hundred groups', async () => (await groupsOf(redis, id)).length === 100);
    expect(await count()).toBe(before);
    await publishState(node, token, id, 'up');
    clients.close();
    await until('no group', async () => (await groupsOf(redis, id)).length === 0);
  });
});

test(
  'what a killed node leaves behind is gone after its lease: groups, slots and the relay’s leadership',
  async () => {
    const own = await createPlane();
    const ownRedis = own.redis.client();
    const capped = { DECNET_SSE_MAX_PER_USER: '3' };
    const doomed = await own.child(capped);
    const survivor = await own.node({}, capped);
    const admin = await own.token(survivor.url);
    const user = await newUser(own, survivor);
    const id = await newTopology(own);
    const path = `/topologies/${id}/events`;
    await openStreams(3, id, doomed, user.token);
    const [witness] = await openStreams(1, id, survivor, admin);
    await until('four groups', async () => (await groupsOf(ownRedis, id)).length === 4);

    await doomed.kill();
    const tryAgain = async () => (await clients.open(survivor, path, { token: user.token })).status;
    expect(await tryAgain()).toBe(429);
    expect(await groupsOf(ownRedis, id)).toHaveLength(4);
    await enqueue(survivor, admin, id);
    await until('a free slot', async () => (await tryAgain()) === 200);
    await witness?.untilEvent('mutation.enqueued');
    clients.close();
    const [last] = await openStreams(1, id, survivor, admin);
    await until('the group of the living', async () => (await groupsOf(ownRedis, id)).length === 1);
    await publishState(survivor, admin, id, 'up');
    await last?.untilEvent('decky.state');
    clients.close();
    await own.stop();
  },
  LIMIT_MS,
);
