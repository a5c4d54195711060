import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { Groups } from '../../src/bus/groups.ts';
import { Housekeeper } from '../../src/bus/housekeeper.ts';
import { keys } from '../../src/bus/keys.ts';
import { NodeLease, type NodeLeaseOptions } from '../../src/bus/node-lease.ts';
import { quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

function createLease(node = 'n1', options: Partial<NodeLeaseOptions> = {}) {
  const all = { leaseMs: 60_000, ...options };
  const groups = new Groups(node, bus.redis, [bus.redis], all);
  return { groups, lease: new NodeLease(groups, quiet, all) };
}

const endOf = async (node: string) => Number(await bus.redis.zscore(keys.nodes, node));

describe('the lease of a node', () => {
  test('tells when it had ended, whoever noticed: the groups of the node may be gone', async () => {
    let told = 0;
    const { groups, lease } = createLease('n1', { onLapsed: () => (told += 1) });
    await lease.renew();
    await lease.renew();
    expect(told).toBe(0);
    // Ended, and nobody has looked.
    await bus.redis.zadd(keys.nodes, 1, 'n1');
    await lease.renew();
    expect(told).toBe(1);
    // Reaped, and taken again by the next stream that was opened: the lease that is renewed is a good one.
    await bus.redis.zadd(keys.nodes, 1, 'n1');
    await createLease('n2').groups.reap(quiet);
    await groups.open('c1', 'identity', 0);
    await lease.renew();
    expect(told).toBe(2);
    await lease.renew();
    expect(told).toBe(2);
  });

  test('is taken at once and kept', async () => {
    const { lease } = createLease('n1', { leaseMs: 120 });
    await lease.start();
    const first = await endOf('n1');
    expect(first).toBeGreaterThan(0);
    await until('two renewals', async () => (await endOf('n1')) > first + 60);
    await lease.stop();
  });

  test('is kept while the cleaning on the same node takes its time', async () => {
    const { groups, lease } = createLease('n1', { leaseMs: 120 });
    const housekeeper = new Housekeeper(bus.redis, groups, quiet, { leaseMs: 120, maxAgeMs: 0, maxBytes: 0 });
    const cleaning = Promise.withResolvers<string[]>();
    groups.reap = () => cleaning.promise;
    await lease.start();
    housekeeper.start();
    await until('the cleaning to begin', () => bus.redis.exists(keys.housekeeping));
    const first = await endOf('n1');
    await until('three leases', async () => (await endOf('n1')) > first + 360);
    cleaning.resolve([]);
    await housekeeper.stop();
    await lease.stop();
  });

  test('comes through an outage of Redis', async () => {
    const { lease } = createLease('n1', { leaseMs: 120 });
    await lease.start();
    await bus.server.down();
    await bus.server.up();
    await bus.redis.del(keys.nodes);
    await until('the lease to be back', () => bus.redis.zscore(keys.nodes, 'n1'));
    await lease.stop();
  });

  test('is not renewed once it is stopped', async () => {
    const { lease } = createLease('n1', { leaseMs: 30 });
    await lease.start();
    await lease.stop();
    await bus.redis.del(keys.nodes);
    const other = createLease('n2', { leaseMs: 30 });
    await other.lease.start();
    const first = await endOf('n2');
    await until('several renewals of another', async () => (await endOf('n2')) > first + 60);
    await other.lease.stop();
    expect(await bus.redis.zscore(keys.nodes, 'n1')).toBeNull();
  });
});
