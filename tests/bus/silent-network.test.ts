import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import type { Batch } from '../../src/bus/entry.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { Groups } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { NodeLease } from '../../src/bus/node-lease.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Relay } from '../../src/bus/relay.ts';
import { Tail } from '../../src/bus/tail.ts';
import { UserStreams } from '../../src/stream/user-streams.ts';
import { createTestDatabase, quiet } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, publication, stored } from './support.ts';

const PATIENCE_MS = 20_000;

describe('a network that goes silent or away', () => {
  let bus: Bus;
  let proxy: TcpProxy;
  let far: RedisConnections;

  beforeEach(async () => {
    bus = await createBus();
    proxy = await startTcpProxy({ path: bus.server.url });
    far = connectRedis(`redis://127.0.0.1:${proxy.port}`, quiet);
    await whenReady(far);
  });
  afterEach(async () => {
    far.close();
    await proxy.cut();
    await bus.stop();
  });

  test('connections that are dropped without a word are opened again, and the tail misses nothing', async () => {
    const batches: Batch[] = [];
    const log = new EventLog(far.commands, DEFAULTS);
    const tail = new Tail(far.openTail, log, { onBatch: (batch) => batches.push(batch), onBreak: () => {} }, quiet);
    tail.start();
    await until('the tail to have begun', () => tail.cursor.epoch !== '');
    proxy.freeze();
    await bus.log.publish([publication()]);
    await until('the event', () => batches.some(({ channel }) => channel === 'log'), PATIENCE_MS);
    expect(batches.filter(({ channel }) => channel === 'log').map(({ first }) => first)).toEqual([1]);
    await until('the commands', () => log.position('log').catch(() => undefined), PATIENCE_MS);
    tail.stop();
  });

  /** A tail whose connections begin with what a test hands it, and are well from then on. */
  async function startTail(bad: (attempt: number) => Redis | undefined) {
    const batches: Batch[] = [];
    let attempts = 0;
    const log = new EventLog(far.commands, DEFAULTS);
    const connect = () => {
      attempts += 1;
      return bad(attempts) ?? far.openTail();
    };
    const tail = new Tail(connect, log, { onBatch: (batch) => batches.push(batch), onBreak: () => {} }, quiet);
    tail.start();
    const seen = () => batches.filter(({ channel }) => channel === 'log').map(({ first }) => first);
    return { tail, seen, attempts: () => attempts };
  }

  test(
    'a tail that begins while Redis accepts and does not answer reads when it answers',
    async () => {
      await bus.server.pause();
      const { tail, seen, attempts } = await startTail(() => undefined);
      // It has given up on a connection by itself.
      await until('a second attempt', () => attempts() > 1, PATIENCE_MS);
      expect(tail.sinceCaughtUp()).toBe(Number.POSITIVE_INFINITY);
      bus.server.resume();
      await until('the tail to have begun', () => tail.sinceCaughtUp() < 1000, PATIENCE_MS);
      await bus.log.publish([publication()]);
      await until('the event', () => seen().length > 0);
      expect(seen()).toEqual([1]);
      tail.stop();
    },
    2 * PATIENCE_MS,
  );

  test('a tail whose connections are closed at any moment of their first words reads when one holds', async () => {
    // Cut off after so many bytes of what Redis answers: in the greeting, behind it, in the first position.
    const greeting = (await bus.redis.info()).length;
    const cuts = [0, 1, 40, 4000, greeting, greeting + 15, greeting + 30, greeting + 60];
    const { tail, seen, attempts } = await startTail((attempt) => {
      const cut = cuts[attempt - 1];
      if (cut === undefined) return undefined;
      proxy.cutNextAfter(cut);
      return far.openTail();
    });
    await until('a connection that holds', () => attempts() > cuts.length && tail.sinceCaughtUp() < 1000, PATIENCE_MS);
    await bus.log.publish([publication()]);
    await until('the event', () => seen().length > 0);
    expect(seen()).toEqual([1]);
    tail.stop();
  });

  test('a read of history whose answer is lost is told, not sent again: the group has moved', async () => {
    const groups = new Groups('node', far.commands, far.replay, { leaseMs: 60_000 });
    await bus.log.publish([publication(), publication()]);
    const group = await groups.open('c1', 'identity', 0);
    proxy.freeze(); // The command may or may not have arrived.
    const lost = groups.read(group, 0, { events: 10, bytes: 1_000_000 }).then(
      () => 'answered',
      () => 'told',
    );
    expect(await lost).toBe('told');
    const again = await until(
      'the group',
      () =>
        groups.moveTo(group, 0).then(
          () => true,
          () => false,
        ),
      PATIENCE_MS,
    );
    expect(again).toBe(true);
    const entries = await until(
      'the replay',
      () => groups.read(group, 0, { events: 10, bytes: 1_000_000 }).catch(() => undefined),
      PATIENCE_MS,
    );
    expect(entries.map(({ offset }) => offset)).toEqual([1, 2]);
  });

  test('a relay that cannot reach Redis leaves the lead to one that can', async () => {
    const database = await createTestDatabase('sqlite');
    await proxy.cut();
    const cutOff = new Relay(database.db, new EventLog(far.commands, DEFAULTS), 'cut-off', quiet);
    const healthy = new Relay(database.db, bus.log, 'healthy', quiet);
    await database.db.transaction().execute((trx) => appendToOutbox(trx, [publication().event]));
    cutOff.start();
    await until('the first to lead', () =>
      database.db.selectFrom('leases').where('holder', '=', 'cut-off').selectAll().executeTakeFirst(),
    );
    healthy.start();
    await until('the event', async () => (await stored(bus.redis, 'identity')).length === 1, PATIENCE_MS);
    await Promise.all([cutOff.stop(), healthy.stop()]);
    await database.dispose();
  });

  test('a node that started without Redis takes its lease when Redis is there', async () => {
    await proxy.cut();
    const groups = new Groups('early', far.commands, far.replay, { leaseMs: 900 });
    const lease = new NodeLease(groups, quiet, { leaseMs: 900 });
    await lease.start();
    await proxy.restore();
    await until('the lease', () => bus.redis.zscore(keys.nodes, 'early'), PATIENCE_MS);
    await lease.stop();
  });

  test('the cap on a user’s streams holds for many who ask at once without Redis', async () => {
    await proxy.cut();
    const slots = new UserStreams(far.commands, 'node', quiet, { maxPerUser: 5, leaseMs: 60_000 });
    const asked = Array.from({ length: 50 }, (_, n) => slots.acquire('user', 'identity:', `c${n}`, false));
    const granted = (await Promise.allSettled(asked)).filter(({ status }) => status === 'fulfilled');
    expect(granted).toHaveLength(5);
  });
});
