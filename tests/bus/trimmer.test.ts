import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { GroupGoneError, Groups } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { Trimmer } from '../../src/bus/trimmer.ts';
import { recovery } from '../../src/stream/recovery.ts';
import { seeded } from '../support/random.ts';
import { type Bus, createBus, happened, keptOf, publication, storedLog, upTo } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(async () => {
  await bus.redis.flushall();
  await lock('n1');
});
afterAll(() => bus.stop());

const START_MS = 1_600_000_000_000;

const lock = (node: string) => bus.redis.set(keys.housekeeping, node);
const createTrimmer = (node = 'n1', maxBytes = 0) => new Trimmer(bus.redis, node, { lockMs: 60_000, maxBytes });
const trimOlderThan = (time: number) => createTrimmer().walk(time);

describe('trimming by age', () => {
  test('drops exactly the events that happened before the time, for any times in order', async () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      await bus.redis.flushall();
      await lock('n1');
      const random = seeded(seed);
      let time = START_MS;
      // Also several events of one moment: none of them is half of a channel's past.
      const times = upTo(random.between(1, 40)).map(() => {
        time += random.pick([0, 0, 1, 500, 60_000]);
        return time;
      });
      await happened(bus, times);
      const limit = random.pick([START_MS - 1, START_MS, time, time + 1, random.pick([time, ...times]), time - 250]);
      await trimOlderThan(limit);
      const expected = upTo(times.length).filter((offset) => (times[offset - 1] ?? 0) >= limit);
      expect({ seed, kept: await keptOf(bus, 'identity') }).toEqual({ seed, kept: expected });
      expect(await keptOf(bus, 'log')).toEqual(expected);
    }
  });

  test('works on channels that have been trimmed before and have holes', async () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      await bus.redis.flushall();
      await lock('n1');
      const random = seeded(seed);
      const times = upTo(30).map((n) => START_MS + n * 1000);
      await happened(bus, times);
      const deleted = upTo(30).filter(() => random.chance(0.4));
      if (deleted.length > 0) await bus.redis.xdel(keys.stream('identity'), ...deleted.map((offset) => `${offset}-0`));
      const limit = START_MS + random.between(0, 32) * 1000;
      await trimOlderThan(limit);
      const expected = upTo(30).filter((n) => !deleted.includes(n) && (times[n - 1] ?? 0) >= limit);
      expect({ seed, kept: await keptOf(bus, 'identity') }).toEqual({ seed, kept: expected });
    }
  });

  test('judges each channel by its own events', async () => {
    await happened(bus, [START_MS, START_MS + 1000], 'identity.formed');
    await happened(bus, [START_MS + 2000, START_MS + 3000], 'attacker.observed');
    await happened(bus, [START_MS + 1500], 'topology.t1.status');
    await trimOlderThan(START_MS + 2500);
    expect(await keptOf(bus, 'identity')).toEqual([]);
    expect(await keptOf(bus, 'attacker')).toEqual([2]);
    expect(await keptOf(bus, 'topology.t1')).toEqual([]);
    await trimOlderThan(START_MS + 1000);
    expect(await keptOf(bus, 'attacker')).toEqual([2]);
  });

  test('reaches every channel, however many there are', async () => {
    const COUNT = 600; // More than Redis tells in one step of a scan.
    const at = (n: number) => ({ event: createEvent(`topology.t${n}.status`, '', {}, undefined, START_MS) });
    await bus.log.publish(upTo(COUNT).map(at));
    await trimOlderThan(START_MS + 1);
    const lengths = await Promise.all(upTo(COUNT).map((n) => bus.redis.xlen(keys.stream(`topology.t${n}`))));
    expect(lengths.filter((length) => length > 0)).toEqual([]);
    expect(await storedLog(bus.redis)).toEqual([]);
  });

  test('takes no number back: the next event continues the count', async () => {
    await happened(bus, [START_MS, START_MS]);
    await trimOlderThan(START_MS + 1);
    expect(await bus.log.position('identity', 1)).toMatchObject({ offset: 2, nextKept: false });
    await happened(bus, [START_MS + 5000]);
    expect(await keptOf(bus, 'identity')).toEqual([3]);
  });

  test('spares what is young, whatever the order of times: history ends where the first young event stands', async () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      await bus.redis.flushall();
      await lock('n1');
      const random = seeded(seed);
      // What waited in an outbox is told late.
      const times = upTo(random.between(1, 40)).map((n) => START_MS + n * 1000 - random.pick([0, 0, 0, 5000, 30_000]));
      await happened(bus, times);
      const limit = START_MS + random.between(-30, 42) * 1000;
      await trimOlderThan(limit);
      const young = times.findIndex((time) => time >= limit);
      const expected = young < 0 ? [] : upTo(times.length, young + 1);
      expect({ seed, kept: await keptOf(bus, 'identity') }).toEqual({ seed, kept: expected });
    }
  });

  test('a time that is still to come tells nothing: the events around it decide', async () => {
    const future = Date.now() + 24 * 3_600_000;
    await happened(bus, [START_MS, future, START_MS, START_MS + 1000, future]);
    await trimOlderThan(START_MS + 1000);
    expect(await keptOf(bus, 'identity')).toEqual([4, 5]);
  });

  test('reads the time of the event, whatever its type and payload look like', async () => {
    const trap = ',"ts":1,"payload":';
    const payload = { ts: 1, payload: {}, inner: { a: 1, ts: 1, payload: trap } };
    const type = `"${trap}`;
    await bus.log.publish([{ event: createEvent('identity.formed', type, payload, undefined, START_MS) }]);
    await trimOlderThan(START_MS);
    expect(await keptOf(bus, 'identity')).toEqual([1]);
    await trimOlderThan(START_MS + 1);
    expect(await keptOf(bus, 'identity')).toEqual([]);
  });

  test('foreign entries go with the events around them, and keys of other types harm nobody', async () => {
    await happened(bus, [START_MS, START_MS], 'attacker.observed');
    const foreign = (id: string, ...fields: string[]) => bus.redis.xadd(keys.stream('attacker'), id, ...fields);
    await foreign('2-7', 'data', 'not json');
    await foreign('3-0', 'x', 'no data');
    await bus.redis.hset(keys.meta, 'offset:attacker', '3', 'bytes:attacker', '300');
    await happened(bus, [START_MS], 'attacker.observed');
    await foreign('4-9', 'data', '{"ts":1}');
    await bus.redis.hset(keys.meta, 'offset:credential', '5', 'bytes:credential', '500');
    await bus.redis.set(keys.stream('credential'), 'a string');
    await happened(bus, [START_MS], 'identity.formed');
    await trimOlderThan(START_MS + 1);
    expect(await keptOf(bus, 'identity')).toEqual([]);
    expect(await keptOf(bus, 'log')).toEqual([]);
    expect(await bus.redis.xrange(keys.stream('attacker'), '-', '+')).toMatchObject([['4-9', ['data', '{"ts":1}']]]);
  });

  test('foreign entries without an end keep the walk from nothing else', async () => {
    await happened(bus, [START_MS], 'identity.formed');
    const pipeline = bus.redis.pipeline();
    for (const n of upTo(1000)) pipeline.xadd(keys.stream('attacker'), `${n}-0`, 'x', 'y');
    await pipeline.exec();
    await bus.redis.hset(keys.meta, 'offset:attacker', '1000', 'bytes:attacker', '9000');
    expect(await trimOlderThan(START_MS + 1)).toMatchObject({ trimmed: 2, complete: true });
    expect(await bus.redis.xlen(keys.stream('attacker'))).toBe(1000);
  });

  test('an empty log is nothing to trim', async () => {
    await trimOlderThan(START_MS);
    await bus.log.position('log');
    await trimOlderThan(START_MS);
    expect(await storedLog(bus.redis)).toEqual([]);
  });
});

describe('a walk over many channels', () => {
  const COUNT = 5000;

  /** So many channels, with one to three events each. */
  async function fill(): Promise<Map<string, number[]>> {
    const random = seeded(7);
    const times = new Map<string, number[]>();
    const publications = upTo(COUNT).flatMap((n) => {
      const mine = upTo(random.between(1, 3)).map(() => START_MS + random.between(0, 100));
      times.set(`topology.t${n}`, mine);
      return mine.map((time) => ({ event: createEvent(`topology.t${n}.status`, '', {}, undefined, time) }));
    });
    for (let first = 0; first < publications.length; first += 500) {
      await bus.log.publish(publications.slice(first, first + 500));
    }
    return times;
  }

  async function lengths(): Promise<Map<string, number>> {
    const found = await Promise.all(upTo(COUNT).map((n) => bus.redis.xlen(keys.stream(`topology.t${n}`))));
    return new Map(found.map((length, index) => [`topology.t${index + 1}`, length]));
  }

  test('trims each as a plain look at it says, and forgets those that are left with nothing', async () => {
    const times = await fill();
    const limit = START_MS + 60;
    const expected = [...times].map(([channel, mine]): [string, number] => {
      const young = mine.findIndex((time) => time >= limit);
      return [channel, young < 0 ? 0 : mine.length - young];
    });
    const forgotten = expected.filter(([, length]) => length === 0);
    expect(await trimOlderThan(limit)).toMatchObject({ forgotten: forgotten.length, complete: true });
    expect([...(await lengths())]).toEqual(expected);
    const offsets = await bus.redis.hmget(keys.meta, ...forgotten.map(([channel]) => `offset:${channel}`));
    expect(offsets.filter((offset) => offset !== null)).toEqual([]);
  });

  test('stops where another node has taken the lock, and leaves the rest to it', async () => {
    await createTrimmer().walk(START_MS); // Redis knows the script from here on.
    await fill();
    const walking = createTrimmer('n1').walk(START_MS + 1000);
    await lock('n2'); // Over the same connection: right behind the first step.
    const first = await walking;
    expect(first.complete).toBe(false);
    expect(first.trimmed).toBeWithin(1, 301);
    const left = [...(await lengths()).values()].filter((length) => length > 0).length;
    expect(left).toBeGreaterThan(COUNT / 2);
    expect(await createTrimmer('n2').walk(START_MS + 1000)).toMatchObject({ complete: true });
    expect([...(await lengths()).values()].filter((length) => length > 0)).toEqual([]);
  });

  test('renews the lock with each step, and does nothing without it', async () => {
    await happened(bus, [START_MS]);
    expect(await createTrimmer('n2').walk(START_MS + 1)).toEqual({ trimmed: 0, forgotten: 0, complete: false });
    await bus.redis.pexpire(keys.housekeeping, 1000);
    await createTrimmer('n1').walk(START_MS + 1);
    expect(await bus.redis.pttl(keys.housekeeping)).toBeGreaterThan(50_000);
    await bus.redis.del(keys.housekeeping);
    expect(await createTrimmer('n1').walk(START_MS + 1)).toMatchObject({ complete: false });
  });

  test('ends at its next step when it is stopped', async () => {
    await fill();
    const trimmer = createTrimmer();
    const walking = trimmer.walk(START_MS + 1000);
    trimmer.stop();
    expect(await walking).toMatchObject({ complete: false });
    expect([...(await lengths()).values()].filter((length) => length > 0).length).toBeGreaterThan(COUNT / 2);
  });
});

describe('trimming by bytes', () => {
  const sized = (bytes: number) => publication('identity.formed', { text: 'x'.repeat(bytes) });

  test('keeps the longest history that fits, and the newest event in any case', async () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      await bus.redis.flushall();
      await lock('n1');
      const random = seeded(seed);
      await bus.log.publish(upTo(random.between(1, 30)).map(() => sized(random.pick([0, 10, 1000, 20_000]))));
      const sizes = (await storedLog(bus.redis)).map(({ data }) => Buffer.byteLength(data));
      const maxBytes = random.between(1, 60_000);
      await createTrimmer('n1', maxBytes).walk(undefined);
      const expected: number[] = [];
      let total = 0;
      for (let offset = sizes.length; offset > 0; offset -= 1) {
        total += sizes[offset - 1] ?? 0;
        if (total > maxBytes && offset < sizes.length) break;
        expected.unshift(offset);
      }
      expect({ seed, kept: await keptOf(bus, 'identity') }).toEqual({ seed, kept: expected });
      expect(await keptOf(bus, 'log')).toEqual(expected);
    }
  });

  test('takes large events too, some at a time, and counts on where it was trimmed before', async () => {
    const large = () => bus.log.publish([sized(1_900_000), sized(1_900_000), sized(1_900_000)]);
    for (const round of upTo(4)) {
      await large();
      await createTrimmer('n1', 4_000_000).trim(['log'], undefined);
      expect(await keptOf(bus, 'log')).toEqual([round * 3 - 1, round * 3]);
      expect(await keptOf(bus, 'identity')).toHaveLength(round * 3);
    }
  });

  test('goes with age: whatever comes first', async () => {
    await happened(bus, [START_MS, START_MS + 1000, START_MS + 2000, START_MS + 3000]);
    const [event] = await storedLog(bus.redis);
    const two = Buffer.byteLength(event?.data ?? '') * 2;
    await createTrimmer('n1', two).walk(START_MS + 1000);
    expect(await keptOf(bus, 'log')).toEqual([3, 4]);
    await createTrimmer('n1', two).walk(START_MS + 3000);
    expect(await keptOf(bus, 'log')).toEqual([4]);
  });
});

describe('a channel that is left with nothing', () => {
  const CHANNEL = 'topology.t1';
  const OLD = upTo(5).map((n) => START_MS + n);
  const LATER = START_MS + 10_000;
  const fieldsOf = async (channel: string) =>
    Object.keys(await bus.redis.hgetall(keys.meta)).filter((field) => field.endsWith(`:${channel}`));
  const old = (topic = 'topology.t1.status') => happened(bus, OLD, topic);
  const groups = () => new Groups('n1', bus.redis, [bus.redis], { leaseMs: 60_000 });

  /** How a client that comes back with its cursor is answered. */
  async function answerTo(offset: number, proof: string, epoch: string) {
    const standing = await bus.log.position(CHANNEL, offset);
    return recovery.open({ kind: 'from', cursor: { epoch, offset, proof, revision: 0 } }, standing);
  }

  test('is forgotten when it is a topology’s: its stream and its numbers', async () => {
    await old();
    await bus.log.publish([
      { event: createEvent('topology.t1.status', '', {}, undefined, START_MS), revisions: { [CHANNEL]: 7 } },
    ]);
    expect(await fieldsOf(CHANNEL)).toHaveLength(4);
    expect(await trimOlderThan(LATER)).toMatchObject({ forgotten: 1 });
    expect(await fieldsOf(CHANNEL)).toEqual([]);
    expect(await bus.redis.exists(keys.stream(CHANNEL))).toBe(0);
  });

  test('is kept while anybody reads it, while one event is young, when nothing grows old, and when it is no topology’s', async () => {
    await old('topology.read.status');
    const reader = await groups().open('c1', 'topology.read', 5);
    await old('topology.young.status');
    await happened(bus, [LATER], 'topology.young.status');
    await old('identity.formed');
    await createTrimmer('n1', 1).walk(undefined);
    expect(await trimOlderThan(LATER)).toMatchObject({ forgotten: 0 });
    for (const channel of ['topology.read', 'topology.young', 'identity', 'log']) {
      expect(await fieldsOf(channel)).toContain(`offset:${channel}`);
    }
    // Its reader has gone: the next walk forgets it, although the events went with an earlier one.
    await groups().close(reader);
    expect(await trimOlderThan(LATER)).toMatchObject({ forgotten: 1 });
    expect(await fieldsOf('topology.read')).toEqual([]);
  });

  test('resets whoever comes back, from any number, whether or not it has begun again', async () => {
    const before = await bus.log.position(CHANNEL);
    await old();
    const { proof: newest } = await bus.log.position(CHANNEL);
    const { readerProof: third } = await bus.log.position(CHANNEL, 3);
    const cursors: [number, string][] = [
      [0, before.proof],
      [3, third],
      [5, newest],
    ];
    // The control: nothing is trimmed, and each of them goes on.
    for (const [offset, proof] of cursors) {
      expect(await answerTo(offset, proof, before.epoch)).toMatchObject({ kind: 'resume' });
    }
    await trimOlderThan(LATER);
    for (const reborn of [0, 1, 2, 4, 5, 8]) {
      const { offset } = await bus.log.position(CHANNEL);
      await bus.log.publish(upTo(reborn - offset).map(() => publication('topology.t1.status')));
      for (const [at, proof] of cursors) {
        expect({ reborn, at, ...(await answerTo(at, proof, before.epoch)) }).toMatchObject({ kind: 'reset' });
      }
    }
    // What begins now goes on as ever.
    const { readerProof } = await bus.log.position(CHANNEL, 0);
    expect(await answerTo(0, readerProof, before.epoch)).toMatchObject({ kind: 'resume' });
    expect(readerProof).not.toBe(before.proof);
  });

  test('changes the place before all first events no more often than it must', async () => {
    const root = () => bus.redis.hget(keys.meta, 'root');
    await old('topology.t1.status');
    await trimOlderThan(LATER);
    const first = await root();
    expect(first).toMatch(/^[0-9a-f]{8}$/);
    await old('topology.t2.status');
    expect(await trimOlderThan(LATER)).toMatchObject({ forgotten: 1 });
    expect(await root()).toBe(first);
    // Events that are younger than the last change may have been seen coming from there.
    await bus.redis.hset(keys.meta, 'rooted', LATER / 1000 - 1);
    await old('topology.t3.status');
    await trimOlderThan(LATER);
    expect(await root()).not.toBe(first);
  });

  test('takes no group of a reader who stood in it: he has to ask where it stands', async () => {
    await old();
    await trimOlderThan(LATER);
    await expect(groups().open('c1', CHANNEL, 5)).rejects.toThrow(GroupGoneError);
    expect(await bus.redis.exists(keys.stream(CHANNEL))).toBe(0);
    await groups().open('c1', CHANNEL, 0);
  });

  test('and never had an event leaves no key behind when its last reader goes', async () => {
    const [one, other] = [await groups().open('c1', CHANNEL, 0), await groups().open('c2', CHANNEL, 0)];
    await groups().close(one);
    expect(await bus.redis.exists(keys.stream(CHANNEL))).toBe(1);
    await groups().close(other);
    expect(await bus.redis.exists(keys.stream(CHANNEL))).toBe(0);
    await groups().open('c3', CHANNEL, 0);
    await groups().retire();
    expect(await bus.redis.exists(keys.stream(CHANNEL))).toBe(0);
  });
});
