import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { Redis } from 'ioredis';
import type { Batch } from '../../src/bus/entry.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Tail, type TailListener, tailChecks } from '../../src/bus/tail.ts';
import { quiet } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, idsOf, offsetsOf, publication, publications, upTo } from './support.ts';

/** Redis answers a blocked read after a second at the latest; a replaced log is found then. */
const FOUND_WITHIN_MS = 3000;
const TIMEOUT_MS = 20_000;

let bus: Bus;
let running: { tail: Tail; connections: RedisConnections }[];
beforeEach(async () => {
  bus = await createBus();
  running = [];
});
afterEach(async () => {
  for (const { tail, connections } of running) {
    await tail.stop();
    connections.close();
  }
  await bus.stop();
});

/** Keeps what the tail says: runs of batches, a new run after each break. */
class Recorder implements TailListener {
  readonly runs: { epoch: string; batches: Batch[] }[] = [];

  onBatch(batch: Batch): void {
    this.run.batches.push(batch);
  }

  onBreak(epoch: string): void {
    this.runs.push({ epoch, batches: [] });
  }

  get run() {
    return this.runs.at(-1) ?? { epoch: '', batches: [] };
  }

  /** The entries of a channel in all runs, or in one. */
  entries(channel: string, runs = this.runs) {
    return runs.flatMap(({ batches }) =>
      batches.filter((batch) => batch.channel === channel).flatMap((b) => b.entries),
    );
  }
}

/** Counts how often it was asked where the log stands: the tail asks at each idle moment. */
class CountingLog extends EventLog {
  asked = 0;

  override async position(...asked: Parameters<EventLog['position']>) {
    const position = await super.position(...asked);
    this.asked += 1;
    return position;
  }
}

/** A tail that has begun to read, on connections as in production. */
async function startTail(checks = tailChecks) {
  const connections = connectRedis(bus.server.url, quiet);
  await whenReady(connections);
  const log = new CountingLog(connections.commands, DEFAULTS);
  const recorder = new Recorder();
  let [isAway, current] = [false, connections.openTail()];
  current.disconnect();
  const connect = () => {
    // A path where nobody listens: the tail goes on trying.
    current = isAway ? new Redis({ path: '/nowhere', retryStrategy: () => null }) : connections.openTail();
    current.on('error', () => {});
    return current;
  };
  const network = {
    cut: () => current.disconnect(),
    /** Until {@link network.back} nothing is reached. */
    async away() {
      isAway = true;
      const last = current;
      last.disconnect();
      // Until then what is published may still arrive.
      await until('the tail to be away', () => last.status === 'end');
    },
    back() {
      isAway = false;
    },
  };
  const tail = new Tail(connect, log, recorder, quiet, checks);
  running.push({ tail, connections });
  expect(tail.sinceCaughtUp()).toBe(Number.POSITIVE_INFINITY);
  tail.start();
  await until('the tail to begin', () => recorder.runs.length === 1);
  return { tail, recorder, log, network };
}

/** Offsets of each batch are what it says, and each continues the one before within its run. */
function expectUnbroken({ runs }: Recorder, channel: string): void {
  for (const { epoch, batches } of runs) {
    let last: number | undefined;
    for (const batch of batches.filter((candidate) => candidate.channel === channel)) {
      expect(batch.epoch).toBe(epoch);
      expect(batch.first).toBe(last === undefined ? batch.first : last + 1);
      expect(offsetsOf(batch.entries)).toEqual(upTo(batch.last, batch.first));
      last = batch.last;
    }
  }
}

describe('the tail', () => {
  test('is current only while what is published would be heard of', async () => {
    const { tail, network } = await startTail();
    await until('the tail to be current', () => tail.isCurrent);
    await network.away();
    await until('the tail to notice', () => !tail.isCurrent);
    network.back();
    await until('the tail to be current again', () => tail.isCurrent);
    // Connected, and without an answer.
    await bus.server.client().call('CLIENT', 'PAUSE', '3000', 'ALL');
    await until('the tail to notice', () => !tail.isCurrent);
  });

  test('begins at the newest event: what came before belongs to replay', async () => {
    await bus.log.publish(publications(5));
    const { tail, recorder } = await startTail();
    expect(tail.cursor.offset).toBe(5);
    const [next] = await bus.log.publish([publication()]);
    await until('the next event', () => tail.cursor.offset === 6);
    expect(idsOf(recorder.entries('log'))).toEqual([next?.id ?? '']);
    expect(recorder.run.epoch).toBe(tail.cursor.epoch);
  });

  test('hands on every event once, by channel, in order, without a hole', async () => {
    const { tail, recorder } = await startTail();
    const topics = ['identity.formed', 'decky.web.state', 'topology.t1.status'];
    const events = topics.flatMap((topic) =>
      upTo(200).map((n) => publication(topic, topic.startsWith('decky') ? { n, topology_id: 't1' } : { n })),
    );
    await Promise.all(events.map((event) => bus.log.publish([event])));
    await until('all events', () => tail.cursor.offset === events.length);
    for (const [channel, count] of [
      ['log', 600],
      ['identity', 200],
      ['decky', 200],
      ['topology.t1', 400],
    ] as const) {
      expectUnbroken(recorder, channel);
      expect(offsetsOf(recorder.entries(channel))).toEqual(upTo(count));
    }
    expect(recorder.runs).toHaveLength(1);
    expect(idsOf(recorder.entries('log')).sort()).toEqual(events.map(({ event }) => event.id).sort());
  });

  test('gives each channel its own revision of an event', async () => {
    const { tail, recorder } = await startTail();
    const { event } = publication('decky.web.state', { topology_id: 't1' });
    await bus.log.publish([{ event, revisions: { decky: 4, 'topology.t1': 9 } }]);
    await until('the event', () => tail.cursor.offset === 1);
    expect(recorder.entries('decky')[0]?.revision).toBe(4);
    expect(recorder.entries('topology.t1')[0]?.revision).toBe(9);
  });

  test('knows when it has read everything', async () => {
    const { tail } = await startTail();
    await bus.log.publish(publications(3));
    await until('the tail to be caught up', () => tail.sinceCaughtUp() < 500);
    expect(tail.cursor.offset).toBe(3);
  });

  test('reads every event once while its connection is cut again and again', async () => {
    const { tail, recorder, network } = await startTail();
    const events = publications(300);
    for (const [index, event] of events.entries()) {
      await bus.log.publish([event]);
      if (index % 60 === 30) network.cut(); // In the middle of a read.
    }
    await until('all events', () => tail.cursor.offset === events.length);
    expect(recorder.runs).toHaveLength(1);
    expect(idsOf(recorder.entries('identity'))).toEqual(events.map(({ event }) => event.id));
  });

  test('reads every event once over a restart of Redis', async () => {
    const { tail, recorder } = await startTail();
    const events = publications(20);
    await bus.log.publish(events.slice(0, 10));
    await bus.server.down();
    await bus.server.up();
    await bus.log.publish(events.slice(10));
    await until('all events', () => tail.cursor.offset === events.length);
    expect(recorder.runs).toHaveLength(1);
    expect(idsOf(recorder.entries('identity'))).toEqual(events.map(({ event }) => event.id));
  });
});

describe('a log that was flushed and begun again lower, while the tail waits for higher offsets', () => {
  test(
    'is found, and everything after the break arrives',
    async () => {
      await bus.log.publish(publications(10));
      const { tail, recorder } = await startTail();
      await bus.redis.flushall();
      const [first] = await bus.log.publish(publications(3));
      await until('the break', () => recorder.runs.length === 2, FOUND_WITHIN_MS);
      expect(recorder.run.epoch).toBe(first?.epoch ?? '');
      // What came before the break is behind its position, which every reader asks for: 3 of them.
      expect(tail.cursor).toMatchObject({ epoch: first?.epoch ?? '', offset: 3 });
      await bus.log.publish(publications(4, 'identity.formed', 4));
      await until('the events after it', () => tail.cursor.offset === 7);
      expect(offsetsOf(recorder.entries('identity', recorder.runs.slice(1)))).toEqual([4, 5, 6, 7]);
      expectUnbroken(recorder, 'log');
    },
    TIMEOUT_MS,
  );

  test(
    'loses nothing of the new epoch after the break while publishing never stops',
    async () => {
      await bus.log.publish(publications(10));
      const { tail, recorder } = await startTail();
      let published = 0;
      const publishing = (async () => {
        while (recorder.runs.length < 2 || published < 400) {
          const [event] = await bus.log.publish([publication()]);
          published += 1;
          if (published === 100) await bus.redis.flushall();
          if (event === undefined) throw new Error('nothing was published');
        }
      })();
      await until('the break', () => recorder.runs.length === 2, FOUND_WITHIN_MS);
      const start = tail.cursor.offset;
      await publishing;
      const end = await bus.log.position('log');
      await until('the newest event', () => tail.cursor.offset === end.offset);
      expect(tail.cursor.epoch).toBe(end.epoch);
      const read = offsetsOf(recorder.entries('log', recorder.runs.slice(1)));
      expect(read).toEqual(upTo(end.offset, read[0] ?? 0));
      expect(read[0]).toBeLessThanOrEqual(start + 1);
    },
    TIMEOUT_MS,
  );

  test(
    'control: without the check nothing of the new epoch arrives',
    async () => {
      await bus.log.publish(publications(10));
      const { tail, recorder, log } = await startTail({ ...tailChecks, replaced: () => false });
      await bus.redis.flushall();
      await bus.log.publish(publications(3));
      const asked = log.asked;
      await until('two idle moments', () => log.asked >= asked + 2);
      expect(recorder.runs).toHaveLength(1);
      expect(recorder.entries('log')).toEqual([]);
      expect(tail.cursor.offset).toBe(10);
    },
    TIMEOUT_MS,
  );
});

describe('a log that is behind what was read, in the same epoch', () => {
  test(
    'has lost acknowledged events: everybody is asked to prove where he stands',
    async () => {
      await bus.log.publish(publications(10));
      const { tail, recorder } = await startTail();
      const before = tail.cursor.epoch;
      // What a restored copy from an hour ago looks like.
      await bus.redis.del(keys.stream('log'));
      await bus.redis.hset(keys.meta, 'offset:log', 6);
      await until('the break', () => recorder.runs.length === 2, FOUND_WITHIN_MS);
      expect(tail.cursor.offset).toBe(6);
      expect(tail.cursor.epoch).toBe(before);
      await bus.log.publish([publication()]);
      await until('the next event', () => recorder.entries('log').length === 1);
      expect(recorder.entries('log')[0]?.offset).toBe(7);
    },
    TIMEOUT_MS,
  );
});

describe('a log that came back older and went on to the same numbers, in the same epoch', () => {
  /** The newest events are lost while the tail is away, and others take their numbers. */
  async function rewritten(checks = tailChecks) {
    await bus.log.publish(publications(10));
    const started = await startTail(checks);
    await bus.log.publish(publications(2));
    await until('the events', () => started.tail.cursor.offset === 12);
    await started.network.away();
    const meta = await bus.redis.hgetall(keys.meta);
    // Ten again, then two others.
    const tenth = started.recorder.entries('log')[0];
    await bus.redis.hset(keys.meta, { ...meta, 'offset:log': 10, 'proof:log': tenth?.before ?? '' });
    await bus.redis.del(keys.stream('log'));
    await bus.log.publish(publications(3));
    started.network.back();
    return started;
  }

  test('is found on the new connection, before anything of it is handed on', async () => {
    const { tail, recorder } = await rewritten();
    await until('the break', () => recorder.runs.length === 2);
    expect(tail.cursor.offset).toBe(13);
    expect(recorder.entries('log', recorder.runs.slice(1))).toEqual([]);
  });

  test('is found by what is read, too: the next event does not follow', async () => {
    const { recorder } = await rewritten({ ...tailChecks, replaced: () => false });
    await until('the break', () => recorder.runs.length === 2);
    expect(offsetsOf(recorder.entries('log', recorder.runs.slice(1)))).toEqual([13]);
  });

  test('control: without both checks the other events go by unnoticed', async () => {
    const { tail, recorder } = await rewritten({ replaced: () => false, follows: () => true });
    await until('the newest event', () => tail.cursor.offset === 13);
    expect(recorder.runs).toHaveLength(1);
  });
});

describe('events that were trimmed before the tail could read them', () => {
  /** The tail sleeps while ten events come and the first four of them go. */
  async function sleepThrough(checks = tailChecks) {
    await bus.log.publish(publications(5));
    const started = await startTail(checks);
    await started.network.away();
    await bus.log.publish(publications(10));
    await bus.redis.xtrim(keys.stream('log'), 'MINID', '10-0');
    started.network.back();
    await until('the newest event', () => started.tail.cursor.offset === 15);
    return started;
  }

  test('leave a hole, which is told before what follows it', async () => {
    const { recorder } = await sleepThrough();
    expect(recorder.runs).toHaveLength(2);
    expect(recorder.runs[1]?.epoch).toBe(recorder.runs[0]?.epoch ?? '');
    expect(offsetsOf(recorder.entries('log', recorder.runs.slice(1)))).toEqual(upTo(15, 10));
    expectUnbroken(recorder, 'log');
  });

  test('control: without the check the hole goes by unnoticed', async () => {
    const { recorder } = await sleepThrough({ ...tailChecks, follows: () => true });
    expect(recorder.runs).toHaveLength(1);
    expect(offsetsOf(recorder.entries('log'))).toEqual(upTo(15, 10));
  });
});

test('a new epoch without lower offsets is a break too', async () => {
  await bus.log.publish(publications(3));
  const { tail, recorder } = await startTail();
  await bus.redis.hset(keys.meta, 'epoch', 'rotated0');
  await bus.log.publish(publications(2));
  await until('the events', () => tail.cursor.offset === 5);
  expect(recorder.runs.map(({ epoch }) => epoch).slice(1)).toEqual(['rotated0']);
  expect(offsetsOf(recorder.entries('log'))).toEqual([4, 5]);
  expectUnbroken(recorder, 'identity');
});

test('stops while it waits for events', async () => {
  const { tail, recorder } = await startTail();
  await tail.stop();
  await bus.log.publish(publications(1));
  expect(recorder.entries('log')).toEqual([]);
});
