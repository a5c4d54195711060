import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { Groups } from '../../src/bus/groups.ts';
import { Housekeeper } from '../../src/bus/housekeeper.ts';
import { keys } from '../../src/bus/keys.ts';
import { quiet } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, offsetsOf, stored, storedLog, upTo } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

const START_MS = 1_790_000_000_000;
const DAY_MS = 24 * 3_600_000;

function createHousekeeper(node = 'n1', { leaseMs = 60_000, maxAgeMs = 0 } = {}) {
  const groups = new Groups(node, bus.redis, [bus.redis], { leaseMs });
  return { groups, housekeeper: new Housekeeper(bus.redis, groups, quiet, { leaseMs, maxAgeMs }) };
}

/** Events of a topic that happened at these times. */
async function happened(times: readonly number[], topic = 'identity.formed'): Promise<void> {
  if (times.length === 0) return;
  await bus.log.publish(times.map((time) => ({ event: createEvent(topic, '', {}, undefined, time) })));
}

const kept = async (channel: string) => offsetsOf(await stored(bus.redis, channel));

describe('trimming by age', () => {
  const housekeeper = () => createHousekeeper().housekeeper;

  test('drops exactly the events that happened before the time, for any times in order', async () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      await bus.redis.flushall();
      const random = seeded(seed);
      let time = START_MS;
      // Also several events of one moment: none of them is half of a channel's past.
      const times = upTo(random.between(1, 40)).map(() => {
        time += random.pick([0, 0, 1, 500, 60_000]);
        return time;
      });
      await happened(times);
      const limit = random.pick([START_MS - 1, START_MS, time, time + 1, random.pick([time, ...times]), time - 250]);
      await housekeeper().trimOlderThan(limit);
      const expected = upTo(times.length).filter((offset) => (times[offset - 1] ?? 0) >= limit);
      expect({ seed, kept: await kept('identity') }).toEqual({ seed, kept: expected });
      expect(await kept('log')).toEqual(expected);
    }
  });

  test('works on channels that have been trimmed before and have holes', async () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      await bus.redis.flushall();
      const random = seeded(seed);
      const times = upTo(30).map((n) => START_MS + n * 1000);
      await happened(times);
      const deleted = upTo(30).filter(() => random.chance(0.4));
      if (deleted.length > 0) await bus.redis.xdel(keys.stream('identity'), ...deleted.map((offset) => `${offset}-0`));
      const limit = START_MS + random.between(0, 32) * 1000;
      await housekeeper().trimOlderThan(limit);
      const expected = upTo(30).filter((n) => !deleted.includes(n) && (times[n - 1] ?? 0) >= limit);
      expect({ seed, kept: await kept('identity') }).toEqual({ seed, kept: expected });
    }
  });

  test('judges each channel by its own events', async () => {
    await happened([START_MS, START_MS + 1000], 'identity.formed');
    await happened([START_MS + 2000, START_MS + 3000], 'attacker.observed');
    await happened([START_MS + 1500], 'topology.t1.status');
    await housekeeper().trimOlderThan(START_MS + 2500);
    expect(await kept('identity')).toEqual([]);
    expect(await kept('attacker')).toEqual([2]);
    expect(await kept('topology.t1')).toEqual([]);
    await housekeeper().trimOlderThan(START_MS + 1000);
    expect(await kept('attacker')).toEqual([2]);
  });

  test('reaches every channel, however many there are', async () => {
    const COUNT = 600; // More than Redis tells in one step of a scan.
    const at = (n: number) => ({ event: createEvent(`topology.t${n}.status`, '', {}, undefined, START_MS) });
    await bus.log.publish(upTo(COUNT).map(at));
    await housekeeper().trimOlderThan(START_MS + 1);
    const lengths = await Promise.all(upTo(COUNT).map((n) => bus.redis.xlen(keys.stream(`topology.t${n}`))));
    expect(lengths.filter((length) => length > 0)).toEqual([]);
    expect(await storedLog(bus.redis)).toEqual([]);
  });

  test('takes no number back: the next event continues the count', async () => {
    await happened([START_MS, START_MS]);
    await housekeeper().trimOlderThan(START_MS + 1);
    expect(await bus.log.position('identity', 1)).toMatchObject({ offset: 2, nextKept: false });
    await happened([START_MS + 5000]);
    expect(await kept('identity')).toEqual([3]);
  });

  test('a foreign entry that is no event does not keep the other channels from being trimmed', async () => {
    await happened([START_MS, START_MS], 'attacker.observed');
    await happened([START_MS], 'identity.formed');
    await bus.redis.xadd(keys.stream('attacker'), '3-0', 'data', 'not json');
    await bus.redis.hset(keys.meta, 'offset:attacker', '3');
    await housekeeper().trimOlderThan(START_MS + 1);
    expect(await kept('identity')).toEqual([]);
    expect(await kept('log')).toEqual([]);
  });

  test('an empty log is nothing to trim', async () => {
    await housekeeper().trimOlderThan(START_MS);
    await bus.log.position('log');
    await housekeeper().trimOlderThan(START_MS);
    expect(await storedLog(bus.redis)).toEqual([]);
  });
});

describe('a round', () => {
  test('trims what is older than the limit', async () => {
    await happened([Date.now() - 2 * DAY_MS, Date.now()]);
    await createHousekeeper('n1', { maxAgeMs: DAY_MS }).housekeeper.round();
    expect(await kept('identity')).toEqual([2]);
  });

  test('keeps everything for ever when there is no limit', async () => {
    await happened([0, Date.now()]);
    await createHousekeeper('n1', { maxAgeMs: 0 }).housekeeper.round();
    expect(await kept('identity')).toEqual([1, 2]);
  });

  test('cleans up on one node at a time, and renews the lease on all', async () => {
    const [first, second] = [createHousekeeper('n1'), createHousekeeper('n2', { maxAgeMs: DAY_MS })];
    await first.housekeeper.round();
    await happened([Date.now() - 2 * DAY_MS]);
    await second.housekeeper.round();
    expect(await kept('identity')).toEqual([1]);
    expect((await bus.redis.zrange(keys.nodes, '0', '-1')).sort()).toEqual(['n1', 'n2']);
    // The lock ends by itself: a node that died while it held it stops nobody.
    await bus.redis.pexpire(keys.housekeeping, 1);
    await until('the lock to end', async () => (await bus.redis.exists(keys.housekeeping)) === 0);
    await second.housekeeper.round();
    expect(await kept('identity')).toEqual([]);
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
