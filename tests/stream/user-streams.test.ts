import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { keys } from '../../src/bus/keys.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { AppError } from '../../src/errors.ts';
import { type Slot, UserStreams } from '../../src/stream/user-streams.ts';
import { quiet } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';

const LONG_MS = 60_000;

let server: TestRedis;
let connections: RedisConnections[];
beforeEach(async () => {
  server = await startTestRedis();
  connections = [];
});
afterEach(async () => {
  for (const each of connections) each.close();
  await server.stop();
});

/** A node, on connections as in production: they fail fast when Redis is down. */
async function node(name: string, { maxPerUser = 2, leaseMs = LONG_MS } = {}) {
  const redis = connectRedis(server.url, quiet);
  connections.push(redis);
  await whenReady(redis);
  const streams = new UserStreams(redis.commands, name, quiet, { maxPerUser, leaseMs });
  let connection = 0;
  return {
    release: (slot: Slot) => streams.release(slot),
    renew: () => streams.renew(),
    /** A client that comes for the first time. */
    fresh: (user = 'u1', stream = 'topology:t1') => {
      connection += 1;
      return streams.acquire(user, stream, `c${connection}`, false);
    },
    /** A client that was here before. */
    returning: (user = 'u1', stream = 'topology:t1') => {
      connection += 1;
      return streams.acquire(user, stream, `c${connection}`, true);
    },
  };
}

type Node = Awaited<ReturnType<typeof node>>;

async function expectRefused(attempt: Promise<Slot>): Promise<void> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AppError);
  expect(error).toHaveProperty('code', 'stream_limit');
}

/** Slots of one stream differ in age by a millisecond at least. */
async function inOrder(...acquire: (() => Promise<Slot>)[]): Promise<Slot[]> {
  const slots: Slot[] = [];
  for (const each of acquire) {
    const last = Date.now();
    await until('the next millisecond', () => Date.now() > last);
    slots.push(await each());
  }
  return slots;
}

const members = (slots: readonly (Slot | undefined)[]) => slots.map((slot) => slot?.member).sort();

describe('the cap', () => {
  test('holds over two nodes', async () => {
    const [a, b] = [await node('a'), await node('b')];
    await a.fresh();
    await b.fresh();
    await expectRefused(a.fresh());
    await expectRefused(b.fresh());
  });

  test('is kept when forty clients come to two nodes at the same moment', async () => {
    const nodes = [await node('a', { maxPerUser: 5 }), await node('b', { maxPerUser: 5 })];
    const attempts = Array.from({ length: 40 }, (_, index) => nodes[index % 2]?.fresh());
    const outcomes = await Promise.allSettled(attempts);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(5);
  });

  test('counts each user by itself, and all streams of a user together', async () => {
    const a = await node('a');
    await a.fresh('u1', 'topology:t1');
    await a.fresh('u1', 'identity:');
    await expectRefused(a.fresh('u1', 'events:'));
    await a.fresh('u2', 'topology:t1');
  });

  test('is free again as soon as a stream ends, for other nodes too', async () => {
    const [a, b] = [await node('a'), await node('b')];
    const slot = await a.fresh();
    await a.fresh();
    await a.release(slot);
    await b.fresh();
    await expectRefused(b.fresh());
  });

  test('gives one slot for one release: a second release takes nobody else’s', async () => {
    const a = await node('a');
    const slot = await a.fresh();
    await a.fresh();
    await a.release(slot);
    await a.release(slot);
    await a.fresh();
    await expectRefused(a.fresh());
  });

  test('is free again as soon as the leases of a crashed node have ended', async () => {
    const LEASE_MS = 300;
    const [crashed, other] = [await node('crashed', { leaseMs: LEASE_MS }), await node('other', { leaseMs: LEASE_MS })];
    await crashed.fresh();
    await crashed.fresh();
    await expectRefused(other.fresh());
    const isFree = () =>
      other.fresh().then(
        () => true,
        () => false,
      );
    // Not only when the last trace of them is cleared away, ten leases later.
    await until('a free slot', isFree, 5 * LEASE_MS);
  });

  test('stays taken as long as the node renews', async () => {
    const LEASE_MS = 200;
    const [a, b] = [await node('a', { leaseMs: LEASE_MS }), await node('b', { leaseMs: LEASE_MS })];
    await a.fresh();
    await a.fresh();
    const end = performance.now() + 3 * LEASE_MS;
    await until('three leases to pass', async () => {
      expect(await a.renew()).toEqual([]);
      await expectRefused(b.fresh());
      return performance.now() > end;
    });
  });

  test('leaves nothing of a user behind in Redis for ever', async () => {
    const a = await node('a', { leaseMs: 1000 });
    await a.fresh();
    const remaining = await server.client().pttl(keys.userStreams('u1'));
    expect(remaining).toBeGreaterThan(1000);
    expect(remaining).toBeLessThanOrEqual(11_000);
  });
});

describe('a returning client at the cap', () => {
  test('takes over the oldest connection to the same stream, on whichever node it was', async () => {
    const [a, b] = [await node('a', { maxPerUser: 3 }), await node('b', { maxPerUser: 3 })];
    const [other, oldest, newer] = await inOrder(
      () => a.fresh('u1', 'identity:'),
      () => a.fresh(),
      () => a.fresh(),
    );
    const slot = await b.returning();
    expect(members(await a.renew())).toEqual(members([oldest]));
    expect(await b.renew()).toEqual([]);
    // The cap is as full as before.
    await expectRefused(b.fresh());
    for (const kept of [other, newer]) if (kept !== undefined) await a.release(kept);
    await b.release(slot);
  });

  test('never takes over another stream, nor one whose name merely begins alike', async () => {
    const a = await node('a');
    await a.fresh('u1', 'topology:t1');
    await a.fresh('u1', 'topology:t11');
    await expectRefused(a.returning('u1', 'topology:t2'));
    await expectRefused(a.returning('u1', 'topology:t'));
    await expectRefused(a.returning('u1', 'topology:'));
    expect(await a.renew()).toEqual([]);
  });

  test('never takes over the stream of another user', async () => {
    const a = await node('a', { maxPerUser: 1 });
    await a.fresh('u1');
    await a.fresh('u2');
    await a.returning('u2');
    expect((await a.renew()).map(({ userUuid }) => userUuid)).toEqual(['u2']);
  });

  test('below the cap takes nothing over', async () => {
    const a = await node('a');
    await a.fresh();
    await a.returning();
    expect(await a.renew()).toEqual([]);
  });

  test('that returns again and again takes over one after the other, the oldest first', async () => {
    const [a, b] = [await node('a'), await node('b')];
    const [first, second] = await inOrder(a.fresh, a.fresh);
    const [third] = await inOrder(b.returning, b.returning);
    expect(members(await a.renew())).toEqual(members([first, second]));
    await inOrder(b.returning);
    expect(members(await b.renew())).toEqual(members([third]));
  });
});

describe('a slot that was taken over', () => {
  /** One slot, taken over on another node. */
  async function takenOver(): Promise<{ loser: Node; slot: Slot; winner: Node }> {
    const [loser, winner] = [await node('loser', { maxPerUser: 1 }), await node('winner', { maxPerUser: 1 })];
    const slot = await loser.fresh();
    await winner.returning();
    return { loser, slot, winner };
  }

  test('is told to its owner until that lets it go, and is never renewed', async () => {
    const { loser, slot, winner } = await takenOver();
    expect(await loser.renew()).toEqual([slot]);
    expect(await loser.renew()).toEqual([slot]);
    await loser.release(slot);
    expect(await loser.renew()).toEqual([]);
    await expectRefused(loser.fresh());
    expect(await winner.renew()).toEqual([]);
  });

  test('let go before it was noticed leaves the new owner its place', async () => {
    const { loser, slot, winner } = await takenOver();
    await loser.release(slot);
    await expectRefused(loser.fresh());
    expect(await winner.renew()).toEqual([]);
  });
});

describe('while Redis is away', () => {
  test('the streams of this node are counted, so that the cap stays a cap', async () => {
    const a = await node('a');
    const before = await a.fresh();
    await server.down();
    await a.fresh();
    await expectRefused(a.fresh());
    await a.fresh('u2');
    await a.release(before);
    await a.fresh();
    await expectRefused(a.fresh());
  });

  test('what was taken locally counts for everyone once Redis is back', async () => {
    const [a, b] = [await node('a'), await node('b')];
    await server.down();
    await a.fresh();
    await a.fresh();
    await server.up();
    await until('the renewal', () =>
      a.renew().then(
        (taken) => taken.length === 0,
        () => false,
      ),
    );
    await expectRefused(b.fresh());
  });

  test('for longer than the leases, own slots are renewed afterwards and not taken for lost', async () => {
    const LEASE_MS = 200;
    const a = await node('a', { leaseMs: LEASE_MS });
    await a.fresh();
    await a.fresh();
    const ended = Date.now() + LEASE_MS;
    await server.down();
    await until('the leases to end', () => Date.now() > ended);
    await server.up();
    const taken = await until('a renewal', () => a.renew().catch(() => undefined));
    expect(taken).toEqual([]);
    await expectRefused(a.fresh());
  });

  test('and lost its memory, own slots are entered again', async () => {
    const [a, b] = [await node('a'), await node('b')];
    await a.fresh();
    await a.fresh();
    await server.client().flushall();
    expect(await a.renew()).toEqual([]);
    await expectRefused(b.fresh());
  });

  test('a slot can be let go all the same', async () => {
    const a = await node('a', { maxPerUser: 1 });
    const slot = await a.fresh();
    await server.down();
    await a.release(slot);
    await a.fresh();
  });
});
