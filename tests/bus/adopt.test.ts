import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import type { Cursor } from '../../src/bus/cursor.ts';
import { EventLog, serverIdentity } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { startTestRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, publication, publications, storedLog } from './support.ts';

let bus: Bus;
beforeEach(async () => {
  bus = await createBus();
});
afterEach(() => bus.stop());

const NOTHING = { epoch: '', offset: 0, eventId: '' };

/** Publishes some events, adopts the server and reads them all, as a tail does. */
async function readUpTo(count: number) {
  await bus.log.publish(publications(count));
  const cursor = await bus.log.adopt(bus.redis, NOTHING);
  expect(cursor.offset).toBe(count);
  return { ...cursor, eventId: (await storedLog(bus.redis)).at(-1)?.id ?? '' };
}

const at = ({ epoch, offset }: Cursor): Cursor => ({ epoch, offset });

/** What a restart leaves behind: the data, under another run id. */
const restarted = () => bus.redis.hset(keys.meta, 'server', 'the-run-before');

describe('a server that is met again', () => {
  test('is the same one: the epoch stays, whoever asks and however often', async () => {
    const seen = await readUpTo(3);
    for (const client of [bus.redis, bus.server.client()]) {
      expect(await bus.log.adopt(client, seen)).toEqual(at(seen));
      expect(await bus.log.adopt(client, NOTHING)).toEqual(at(seen));
    }
  });

  test('after a planned restart on an append-only file that is synced at each write: the epoch stays', async () => {
    const seen = await readUpTo(3);
    const before = serverIdentity(await bus.redis.info(), 'always');
    await bus.server.down();
    await bus.server.up();
    const after = serverIdentity(await bus.redis.info(), 'always');
    expect(after.runId).not.toBe(before.runId);
    expect(await bus.redis.config('GET', 'appendfsync')).toEqual(['appendfsync', 'always']);
    expect(await bus.log.adopt(bus.redis, NOTHING)).toEqual(at(seen));
    expect(await bus.log.adopt(bus.redis, seen)).toEqual(at(seen));
  });

  test('behind what was read of it, in the same epoch: it lost events, and the epoch is rotated once', async () => {
    const seen = await readUpTo(3);
    const ahead = { epoch: seen.epoch, offset: 4, eventId: 'lost' };
    const rotated = await bus.log.adopt(bus.redis, ahead);
    expect(rotated.epoch).not.toBe(seen.epoch);
    expect(rotated.offset).toBe(3);
    // The second node that saw event 4 comes later: the epoch that it knows is over already.
    expect(await bus.log.adopt(bus.server.client(), ahead)).toEqual(rotated);
    expect((await bus.log.publish([publication()]))[0]).toMatchObject({ epoch: rotated.epoch, offsets: { log: 4 } });
  });

  test('with another event in the place of one that was read: it lost events and went on, and the epoch is rotated', async () => {
    const seen = await readUpTo(3);
    const rotated = await bus.log.adopt(bus.redis, { ...seen, eventId: 'the-event-that-was-there' });
    expect(rotated.epoch).not.toBe(seen.epoch);
  });

  test('behind what was read in another epoch says nothing: offsets of two epochs cannot be compared', async () => {
    const seen = await readUpTo(3);
    expect(await bus.log.adopt(bus.redis, { epoch: 'other', offset: 99, eventId: 'x' })).toEqual(at(seen));
  });
});

describe('a server restarted on an append-only file that is synced each second', () => {
  beforeEach(() => bus.redis.config('SET', 'appendfsync', 'everysec'));

  test('has what its reader has seen: the epoch stays', async () => {
    const seen = await readUpTo(3);
    await restarted();
    expect(await bus.log.adopt(bus.redis, seen)).toEqual(at(seen));
  });

  test('met by a node that has seen nothing may have lost the newest events: new epoch, once', async () => {
    const seen = await readUpTo(3);
    await restarted();
    const rotated = await bus.log.adopt(bus.redis, NOTHING);
    expect(rotated.epoch).not.toBe(seen.epoch);
    expect(await bus.log.adopt(bus.redis, NOTHING)).toEqual(rotated);
  });

  test('has trimmed what its reader has seen: new epoch', async () => {
    const seen = await readUpTo(3);
    await bus.log.publish(publications(2));
    await bus.redis.xtrim(keys.stream('log'), 'MINID', '4-0');
    await restarted();
    expect((await bus.log.adopt(bus.redis, seen)).epoch).not.toBe(seen.epoch);
  });
});

describe('a server that took the place of another', () => {
  test('without an append-only file may have lost acknowledged events: new epoch, once', async () => {
    const seen = await readUpTo(3);
    await restarted();
    await bus.redis.config('SET', 'appendonly', 'no');
    const rotated = await bus.log.adopt(bus.redis, seen);
    expect(rotated.epoch).not.toBe(seen.epoch);
    expect(rotated.offset).toBe(3);
    expect(await bus.log.adopt(bus.server.client(), { ...rotated, eventId: '' })).toEqual(rotated);
  });

  test('promoted from replica while writes were under way: new epoch, once for all nodes', async () => {
    const seen = await readUpTo(3);
    const replica = await startTestRedis();
    try {
      const redis = replica.client();
      await replicate(bus.redis, redis);
      await until('the replica to have the log', () => redis.exists(keys.meta));
      await redis.replicaof('NO', 'ONE');
      const log = new EventLog(redis, DEFAULTS);
      const rotated = await log.adopt(redis, seen);
      expect(rotated.epoch).not.toBe(seen.epoch);
      expect(rotated.offset).toBe(3);
      expect(await log.adopt(replica.client(), seen)).toEqual(rotated);
      expect((await log.publish([publication()]))[0]).toMatchObject({ epoch: rotated.epoch, offsets: { log: 4 } });
    } finally {
      // A server refuses to stop before its first append-only file is written.
      const isWritten = /aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0/;
      const persistence = () => replica.client().info('persistence');
      await until('its append-only file', async () => isWritten.test(await persistence()));
      await replica.stop();
    }
  });
});

/** Makes a server follow another; replication needs TCP, on a port that the kernel chose. */
async function replicate(master: Redis, replica: Redis): Promise<void> {
  const probe = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  // The server waits five seconds for further replicas otherwise.
  await master.config('SET', 'repl-diskless-sync-delay', 0);
  await master.config('SET', 'bind', '127.0.0.1');
  await master.config('SET', 'port', port);
  await replica.replicaof('127.0.0.1', port);
  await until('replication', async () => /master_link_status:up/.test(await replica.info('replication')));
}
