import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import { Groups } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { Trimmer } from '../../src/bus/trimmer.ts';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { insertTopology } from '../topology/support.ts';
import { Clients, groupsOf, publishState, refusal } from './support.ts';

const clients = new Clients();
let plane: Plane;
let nodes: App[];
let token: string;

beforeAll(async () => {
  plane = await createPlane();
  nodes = [await plane.node(), await plane.node()];
  token = await plane.token(nodes[0]?.url ?? '');
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

/** From here on idle streams have nothing to say to Redis: they do not find out by themselves. */
const checkpointed = (redis: Redis, id: string, position: string) =>
  until('the checkpoint', async () => (await groupsOf(redis, id)).every((group) => group.position === position));

describe('a channel that is no more', () => {
  test('because its topology was deleted ends its streams on every node, theirs alone, and has nothing left in Redis; who comes back gets 404', async () => {
    const [doomed, other] = [crypto.randomUUID(), crypto.randomUUID()];
    await insertTopology(plane.database.db, doomed, { status: 'torn_down' });
    await insertTopology(plane.database.db, other);
    const [first] = nodes;
    if (first === undefined) throw new Error('no node');
    const redis = plane.redis.client();
    const open = async (id: string) => {
      const opened = await Promise.all(nodes.map((node) => clients.open(node, `/topologies/${id}/events`, { token })));
      for (const client of opened) await client.untilEvent('snapshot');
      return opened;
    };
    const [ending, staying] = [await open(doomed), await open(other)];
    for (const state of ['up', 'down']) await publishState(first, token, doomed, state);
    for (const client of ending) await client.untilFrames(3);
    await checkpointed(redis, doomed, '2-0');

    expect((await call(first.url, token, 'DELETE', `/topologies/${doomed}`)).ok).toBe(true);
    for (const client of ending) await client.untilEnded();
    for (const node of nodes) {
      const again = await fetch(`${node.url}/api/v1/topologies/${doomed}/events`, {
        headers: { authorization: `Bearer ${token}`, 'last-event-id': ending[0]?.lastId ?? '' },
      });
      expect(await refusal(again)).toMatchObject({ status: 404 });
    }
    expect(await groupsOf(redis, doomed)).toEqual([]);
    expect(await redis.exists(keys.stream(`topology.${doomed}`))).toBe(0);
    expect(Object.keys(await redis.hgetall(keys.meta)).filter((field) => field.includes(doomed))).toEqual([]);

    await publishState(first, token, other, 'up');
    for (const client of staying) await client.untilFrames(2);
    expect(staying.map(({ ended }) => ended)).toEqual([false, false]);
  });

  test('because its node was taken for dead and its events grew old resets the stream that is still there', async () => {
    const [first] = nodes;
    if (first === undefined) throw new Error('no node');
    const id = crypto.randomUUID();
    await insertTopology(plane.database.db, id);
    const client = await clients.open(first, `/topologies/${id}/events`, { token });
    await client.untilEvent('snapshot');
    for (const state of ['up', 'down', 'up']) await publishState(first, token, id, state);
    await client.untilFrames(4);
    const redis = plane.redis.client();
    await checkpointed(redis, id, '3-0');
    const reaper = new Groups('reaper', redis, [redis], { leaseMs: 60_000 });
    const trimmer = new Trimmer(redis, 'reaper', { lockMs: 60_000, maxBytes: 0 });
    // The nodes live, so it takes some tries to be between two of their renewals.
    await until('the channel to be forgotten', async () => {
      const leases = await redis.zrange(keys.nodes, '0', '-1');
      await redis.zadd(keys.nodes, ...leases.flatMap((node) => [1, node]));
      await reaper.reap(quiet);
      await redis.set(keys.housekeeping, 'reaper');
      await trimmer.trim([`topology.${id}`], Date.now());
      return (await redis.hexists(keys.meta, `offset:topology.${id}`)) === 0;
    });
    // Before there is an event: nobody can count on one that shows the stream what has become of its place.
    expect(JSON.parse((await client.untilEvent('reset')).data)).toEqual({ reason: 'ahead' });
    await until('a second snapshot', () => client.named('snapshot').length === 2);
    await publishState(first, token, id, 'up');
    await until('the event after it', () => client.frames.at(-1)?.event === 'decky.state');
  });
});
