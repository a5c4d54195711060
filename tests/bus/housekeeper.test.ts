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

  test('cleans up on one node at a time', async () => {
    const [first, second] = [createHousekeeper('n1'), createHousekeeper('n2', { maxAgeMs: DAY_MS })];
    await first.housekeeper.round();
    await happened(bus, [Date.now() - 2 * DAY_MS]);
    await second.housekeeper.round();
    expect(await keptOf(bus, 'identity')).toEqual([1]);
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

  test('destroys the groups of a node whose lease has ended', async () => {
    const [alive, dead] = [createHousekeeper('alive'), createHousekeeper('dead', { leaseMs: 1 })];
    await Promise.all([alive.groups.renew(), dead.groups.renew()]);
    await dead.groups.open('c1', 'identity', 0);
    await until('its groups to go', async () => {
      await bus.redis.del(keys.housekeeping);
      await alive.housekeeper.round();
      return (await bus.redis.exists(keys.groups('dead'))) === 0;
    });
    expect(await bus.redis.zrange(keys.nodes, '0', '-1')).toEqual(['alive']);
  });
});

describe('a running housekeeper', () => {
  test('comes through an outage of Redis', async () => {
    const { housekeeper } = createHousekeeper('n1', { leaseMs: 120 });
    housekeeper.start();
    await bus.server.down();
    await bus.server.up();
    await until('a round', () => bus.redis.exists(keys.housekeeping));
    await housekeeper.stop();
  });

  test('does nothing any more once it is stopped', async () => {
    const rounds = { stopped: 0, other: 0 };
    const [stopped, other] = [createHousekeeper('n1', { leaseMs: 30 }), createHousekeeper('n2', { leaseMs: 30 })];
    const counting = (name: keyof typeof rounds) => async () => {
      rounds[name] += 1;
      return [];
    };
    stopped.groups.reap = counting('stopped');
    other.groups.reap = counting('other');
    stopped.housekeeper.start();
    await stopped.housekeeper.stop();
    other.housekeeper.start();
    await until('several rounds of another', () => rounds.other > 3);
    await other.housekeeper.stop();
    expect(rounds.stopped).toBe(0);
  });
});
