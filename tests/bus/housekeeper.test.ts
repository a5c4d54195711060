import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { Groups } from '../../src/bus/groups.ts';
import { Housekeeper, type HousekeeperOptions } from '../../src/bus/housekeeper.ts';
import { keys } from '../../src/bus/keys.ts';
import { quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, happened, keptOf } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

const DAY_MS = 24 * 3_600_000;

function createHousekeeper(node = 'n1', options: Partial<HousekeeperOptions> = {}) {
  const all = { leaseMs: 60_000, maxAgeMs: 0, maxBytes: 0, ...options };
  const groups = new Groups(node, bus.redis, [bus.redis], all);
  return { groups, housekeeper: new Housekeeper(bus.redis, groups, quiet, all) };
}

/** Ends a key as its time would. */
async function expire(key: string): Promise<void> {
  await bus.redis.pexpire(key, 1);
  await until('the key to end', async () => (await bus.redis.exists(key)) === 0);
}

describe('a round', () => {
  test('trims what is older than the limit', async () => {
    await happened(bus, [Date.now() - 2 * DAY_MS, Date.now()]);
    await createHousekeeper('n1', { maxAgeMs: DAY_MS }).housekeeper.round();
    expect(await keptOf(bus, 'identity')).toEqual([2]);
  });

  test('keeps everything for ever when there is no limit', async () => {
    await happened(bus, [0, Date.now()]);
    await createHousekeeper('n1', { maxAgeMs: 0 }).housekeeper.round();
    expect(await keptOf(bus, 'identity')).toEqual([1, 2]);
  });

  test('cleans up on one node at a time, and renews the lease on all', async () => {
    const [first, second] = [createHousekeeper('n1'), createHousekeeper('n2', { maxAgeMs: DAY_MS })];
    await first.housekeeper.round();
    await happened(bus, [Date.now() - 2 * DAY_MS]);
    await second.housekeeper.round();
    expect(await keptOf(bus, 'identity')).toEqual([1]);
    expect((await bus.redis.zrange(keys.nodes, '0', '-1')).sort()).toEqual(['n1', 'n2']);
    // The lock ends by itself: a node that died while it held it stops nobody.
    await expire(keys.housekeeping);
    await second.housekeeper.round();
    expect(await keptOf(bus, 'identity')).toEqual([]);
  });

  test('walks over all channels once a minute, whichever node does; the log is looked after in each round', async () => {
    const nodes = ['n1', 'n2'].map((node) => createHousekeeper(node, { maxAgeMs: DAY_MS }).housekeeper);
    await happened(bus, [Date.now() - 2 * DAY_MS]);
    await nodes[0]?.round();
    expect(await keptOf(bus, 'identity')).toEqual([]);
    for (const [index, node] of nodes.entries()) {
      await happened(bus, [Date.now() - 2 * DAY_MS]);
      await expire(keys.housekeeping);
      await node.round();
      expect(await keptOf(bus, 'log')).toEqual([]);
      expect(await keptOf(bus, 'identity')).toHaveLength(index + 1);
    }
    expect(await bus.redis.pttl(keys.walked)).toBeWithin(1, 60_001);
    await expire(keys.walked);
    await nodes[1]?.round();
    expect(await keptOf(bus, 'identity')).toEqual([]);
  });

  test('trims what is too much, also where nothing grows too old', async () => {
    await happened(bus, [Date.now(), Date.now(), Date.now()]);
    await createHousekeeper('n1', { maxBytes: 1 }).housekeeper.round();
    expect(await keptOf(bus, 'log')).toEqual([3]);
    expect(await keptOf(bus, 'identity')).toEqual([3]);
  });

  test('tells of a lease that had ended, whoever noticed: the groups of the node may be gone', async () => {
    let told = 0;
    const { groups, housekeeper } = createHousekeeper('n1', { onLapsed: () => (told += 1) });
    await housekeeper.round();
    await housekeeper.round();
    expect(told).toBe(0);
    // Ended, and nobody has looked.
    await bus.redis.zadd(keys.nodes, 1, 'n1');
    await housekeeper.round();
    expect(told).toBe(1);
    // Reaped, and taken again by the next stream that was opened: the lease that is renewed is a good one.
    await bus.redis.zadd(keys.nodes, 1, 'n1');
    await createHousekeeper('n2').groups.reap(quiet);
    await groups.open('c1', 'identity', 0);
    await housekeeper.round();
    expect(told).toBe(2);
    await housekeeper.round();
    expect(told).toBe(2);
  });

  test('destroys the groups of a node whose lease has ended', async () => {
    const [alive, dead] = [createHousekeeper('alive', { leaseMs: 60 }), createHousekeeper('dead', { leaseMs: 1 })];
    await dead.groups.renew();
    await dead.groups.open('c1', 'identity', 0);
    await until('its groups to go', async () => {
      await alive.housekeeper.round();
      return (await bus.redis.exists(keys.groups('dead'))) === 0;
    });
    expect(await bus.redis.zrange(keys.nodes, '0', '-1')).toEqual(['alive']);
  });
});

describe('a running housekeeper', () => {
  test('takes the lease at once and keeps it', async () => {
    const { housekeeper } = createHousekeeper('n1', { leaseMs: 120 });
    await housekeeper.start();
    const lease = async () => Number(await bus.redis.zscore(keys.nodes, 'n1'));
    const first = await lease();
    expect(first).toBeGreaterThan(0);
    await until('two renewals', async () => (await lease()) > first + 60);
    await housekeeper.stop();
  });

  test('keeps the lease while the cleaning takes its time', async () => {
    const { groups, housekeeper } = createHousekeeper('n1', { leaseMs: 120 });
    const cleaning = Promise.withResolvers<string[]>();
    groups.reap = () => cleaning.promise;
    await housekeeper.start();
    await until('the cleaning to begin', () => bus.redis.exists(keys.housekeeping));
    const lease = async () => Number(await bus.redis.zscore(keys.nodes, 'n1'));
    const first = await lease();
    await until('three leases', async () => (await lease()) > first + 360);
    cleaning.resolve([]);
    await housekeeper.stop();
  });

  test('comes through an outage of Redis', async () => {
    const { housekeeper } = createHousekeeper('n1', { leaseMs: 120 });
    await housekeeper.start();
    await bus.server.down();
    await bus.server.up();
    await bus.redis.del(keys.nodes);
    await until('the lease to be back', () => bus.redis.zscore(keys.nodes, 'n1'));
    await housekeeper.stop();
  });

  test('does nothing any more once it is stopped', async () => {
    const { housekeeper } = createHousekeeper('n1', { leaseMs: 30 });
    await housekeeper.start();
    await housekeeper.stop();
    await bus.redis.del(keys.nodes);
    const other = createHousekeeper('n2', { leaseMs: 30 });
    await other.housekeeper.start();
    const first = Number(await bus.redis.zscore(keys.nodes, 'n2'));
    await until('several rounds of another', async () => Number(await bus.redis.zscore(keys.nodes, 'n2')) > first + 60);
    await other.housekeeper.stop();
    expect(await bus.redis.zscore(keys.nodes, 'n1')).toBeNull();
  });
});
