import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { NO_PROOF } from '../../src/bus/cursor.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import {
  type Bus,
  createBus,
  DEFAULTS,
  idsOf,
  offsetsOf,
  publication,
  publications,
  stored,
  storedLog,
  upTo,
} from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

/** A publisher with a connection of its own. */
const anotherLog = (options: { maxEvents?: number; idempotencyMs?: number } = {}) =>
  new EventLog(bus.server.client(), { ...DEFAULTS, ...options });

describe('publishing', () => {
  test('numbers every channel and the log 1, 2, 3 … whoever publishes at the same time', async () => {
    const random = seeded(11);
    const topics = ['identity.formed', 'topology.t1.status', 'decky.web.state', 'attacker.observed'] as const;
    const logs = Array.from({ length: 4 }, () => anotherLog());
    const batches = Array.from({ length: 40 }, () =>
      Array.from({ length: random.between(1, 12) }, () => publication(random.pick(topics), { topology_id: 't1' })),
    );
    const published = await Promise.all(batches.map((batch, index) => logs[index % logs.length]?.publish(batch) ?? []));
    const count = batches.flat().length;
    expect(published.flat()).toHaveLength(count);
    const log = await storedLog(bus.redis);
    expect(offsetsOf(log)).toEqual(upTo(count));
    for (const channel of ['identity', 'topology.t1', 'decky', 'attacker']) {
      const entries = await stored(bus.redis, channel);
      expect(offsetsOf(entries)).toEqual(upTo(entries.length));
      // What the publisher was told is what a reader finds.
      const told = published.flat().filter(({ offsets }) => offsets[channel] !== undefined);
      expect(told).toHaveLength(entries.length);
      for (const { id, offsets } of told) expect(entries[(offsets[channel] ?? 0) - 1]?.id).toBe(id);
    }
    for (const { id, epoch, offsets } of published.flat()) {
      const entry = log[(offsets.log ?? 0) - 1];
      expect(entry?.id).toBe(id);
      expect(entry?.epoch).toBe(epoch);
      const places = Object.fromEntries(entry?.places.map(({ channel, offset }) => [channel, offset]) ?? []);
      expect({ log: entry?.offset ?? 0, ...places }).toEqual({ log: 0, ...offsets });
    }
  });

  test('keeps the order within a batch', async () => {
    const batch = publications(50);
    await bus.log.publish(batch);
    expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(batch.map(({ event }) => event.id));
  });

  test('stores the revision that the database gave with the channel it belongs to', async () => {
    const { event } = publication('decky.web.state', { topology_id: 't1' });
    await bus.log.publish([{ event, revisions: { decky: 7, 'topology.t1': 3 } }]);
    const [entry] = await storedLog(bus.redis);
    expect(entry?.places).toEqual([
      { channel: 'decky', offset: 1, revision: 7, before: NO_PROOF, proof: expect.stringMatching(/^[0-9a-f]{8}$/) },
      { channel: 'topology.t1', offset: 1, revision: 3, before: NO_PROOF, proof: expect.any(String) },
    ]);
    expect((await stored(bus.redis, 'topology.t1'))[0]?.revision).toBe(3);
    expect((await stored(bus.redis, 'decky'))[0]?.revision).toBe(7);
  });

  test('an event without database state has revision 0', async () => {
    await bus.log.publish([publication()]);
    expect((await stored(bus.redis, 'identity'))[0]?.revision).toBe(0);
    expect((await storedLog(bus.redis))[0]?.places[0]?.revision).toBe(0);
  });

  test('an empty batch publishes nothing', async () => {
    expect(await bus.log.publish([])).toEqual([]);
    expect(await storedLog(bus.redis)).toEqual([]);
  });

  test('trims each channel and the log to about the number of events they may keep', async () => {
    const small = anotherLog({ maxEvents: 100 });
    for (let batch = 0; batch < 10; batch += 1) await small.publish(publications(100));
    for (const channel of ['identity', 'log']) {
      const kept = offsetsOf(await stored(bus.redis, channel));
      expect(kept.length).toBeGreaterThanOrEqual(100);
      // Approximate: Redis drops whole nodes, of 100 entries unless configured otherwise.
      expect(kept.length).toBeLessThanOrEqual(200);
      expect(kept).toEqual(upTo(1000, 1001 - kept.length));
    }
  });
});

describe('the same event id again', () => {
  test('answers the first place and adds nothing, from any node', async () => {
    const batch = [publication('identity.formed'), publication('decky.web.state', { topology_id: 't1' })];
    const first = await bus.log.publish(batch);
    const again = await anotherLog().publish(batch);
    expect(first.map(({ duplicate }) => duplicate)).toEqual([false, false]);
    expect(again).toEqual(first.map((published) => ({ ...published, duplicate: true })));
    expect(await storedLog(bus.redis)).toHaveLength(2);
  });

  test('is found within one batch too', async () => {
    const twice = publication();
    const [first, second] = await bus.log.publish([twice, twice]);
    expect(first?.duplicate).toBe(false);
    expect(second).toMatchObject({ ...first, duplicate: true });
    expect(await stored(bus.redis, 'identity')).toHaveLength(1);
  });

  test('is published once by twenty producers at the same time', async () => {
    const event = publication();
    const answers = await Promise.all(Array.from({ length: 20 }, () => anotherLog().publish([event])));
    expect(answers.flat().filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(new Set(answers.flat().map(({ offsets }) => offsets.log))).toEqual(new Set([1]));
    expect(await storedLog(bus.redis)).toHaveLength(1);
  });

  test('is still known after the producer has acknowledged it, for the idempotency time', async () => {
    const WEEK_MS = 7 * 24 * 3_600_000;
    const { event } = publication();
    await bus.log.publish([{ event, rememberMs: WEEK_MS }]);
    expect(await bus.redis.pttl(keys.published(event.id))).toBeGreaterThan(DEFAULTS.idempotencyMs);
    await bus.log.acknowledge([event.id]);
    const remaining = await bus.redis.pttl(keys.published(event.id));
    expect(remaining).toBeGreaterThan(0);
    expect(remaining).toBeLessThanOrEqual(DEFAULTS.idempotencyMs);
    expect((await bus.log.publish([{ event }]))[0]?.duplicate).toBe(true);
  });

  test('is forgotten after the idempotency time: the memory is bounded', async () => {
    const short = anotherLog({ idempotencyMs: 20 });
    const event = publication();
    await short.publish([event]);
    await until('the id to be forgotten', async () => (await bus.redis.exists(keys.published(event.event.id))) === 0);
    expect((await short.publish([event]))[0]).toMatchObject({ duplicate: false, offsets: { identity: 2 } });
  });

  test('is published anew, in a new epoch, after everything was flushed', async () => {
    const event = publication();
    const [before] = await bus.log.publish([event]);
    await bus.redis.flushall();
    const [after] = await bus.log.publish([event]);
    expect(after?.duplicate).toBe(false);
    expect(after?.offsets).toEqual({ log: 1, identity: 1 });
    expect(after?.epoch).not.toBe(before?.epoch);
  });

  test('is published anew when only its memory outlived the log, as after an eviction of the meta key', async () => {
    const event = publication();
    await bus.log.publish([event]);
    await bus.redis.del(keys.meta);
    expect(await bus.redis.exists(keys.published(event.event.id))).toBe(1);
    expect((await bus.log.publish([event]))[0]?.duplicate).toBe(false);
    expect(idsOf(await stored(bus.redis, 'identity'))).toEqual([event.event.id]);
  });
});

describe('the epoch', () => {
  test('is minted once when twenty publishers meet an empty Redis', async () => {
    const answers = await Promise.all(upTo(20).map(() => anotherLog().publish([publication()])));
    expect(new Set(answers.flat().map(({ epoch }) => epoch)).size).toBe(1);
    expect(offsetsOf(await storedLog(bus.redis))).toEqual(upTo(20));
  });

  test('is eight characters that are safe in a cursor', async () => {
    expect((await bus.log.position('identity')).epoch).toMatch(/^[0-9a-z]{8}$/);
  });

  test.each(['publish', 'position', 'testify'] as const)(
    'minted by %s, takes streams with it that outlived their meta key',
    async (how) => {
      await bus.log.publish([...publications(5), publication('topology.t1.status')]);
      const foreign = 'not-of-the-bus';
      await bus.redis.set(foreign, 'kept');
      await bus.redis.del(keys.meta);
      if (how === 'publish') await bus.log.publish([publication('attacker.observed')]);
      if (how === 'position') await bus.log.position('identity');
      if (how === 'testify') await bus.log.testify({ newest: undefined, epochs: [] }, 1);
      expect(await bus.redis.exists(keys.stream('identity'), keys.stream('topology.t1'))).toBe(0);
      expect(await storedLog(bus.redis)).toHaveLength(how === 'publish' ? 1 : 0);
      expect(await bus.redis.get(foreign)).toBe('kept');
    },
  );
});

describe('an error in the middle of a batch', () => {
  const broken = keys.stream('topology.broken');
  const batch = [
    publication('identity.formed', { n: 1 }),
    publication('identity.formed', { n: 2 }),
    // In two channels: the first takes it, the second cannot.
    publication('decky.web.state', { topology_id: 'broken' }),
    publication('identity.formed', { n: 3 }),
  ];

  test('leaves the events before it published and none after it', async () => {
    await bus.log.position('log'); // Minting the epoch would clear the obstacle away.
    await bus.redis.set(broken, 'not a stream');
    await expect(bus.log.publish(batch)).rejects.toThrow('WRONGTYPE');
    const before = batch.slice(0, 2).map(({ event }) => event.id);
    expect(idsOf(await storedLog(bus.redis))).toEqual(before);
    expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(before);
  });

  test('leaves no hole and no repetition behind: after the repair the same batch arrives whole, in order, once', async () => {
    await bus.log.publish([publication('decky.web.state', { topology_id: 'other' })]);
    await bus.redis.set(broken, 'not a stream');
    for (let attempt = 0; attempt < 3; attempt += 1) await expect(bus.log.publish(batch)).rejects.toThrow('WRONGTYPE');
    await bus.redis.del(broken);
    const published = await bus.log.publish(batch);
    expect(published.map(({ duplicate }) => duplicate)).toEqual([true, true, false, false]);
    const log = await storedLog(bus.redis);
    expect(offsetsOf(log)).toEqual(upTo(5));
    expect(idsOf(log).slice(1)).toEqual(batch.map(({ event }) => event.id));
    expect(offsetsOf(await stored(bus.redis, 'identity'))).toEqual(upTo(3));
    expect(offsetsOf(await stored(bus.redis, 'decky'))).toEqual(upTo(2));
    expect(offsetsOf(await stored(bus.redis, 'topology.broken'))).toEqual([1]);
    expect((await bus.log.position('decky')).offset).toBe(2);
  });

  test('the log itself broken: no channel keeps an event that the log does not have', async () => {
    await bus.log.publish(publications(2));
    await bus.redis.rename(keys.stream('log'), 'aside');
    await bus.redis.set(keys.stream('log'), 'not a stream');
    await expect(bus.log.publish(batch)).rejects.toThrow('WRONGTYPE');
    await bus.redis.rename('aside', keys.stream('log'));
    expect(offsetsOf(await stored(bus.redis, 'identity'))).toEqual([1, 2]);
    await bus.log.publish(batch);
    expect(offsetsOf(await stored(bus.redis, 'identity'))).toEqual(upTo(5));
    expect(offsetsOf(await storedLog(bus.redis))).toEqual(upTo(6));
  });
});

describe('the position of a channel', () => {
  test('is 0 in a channel without events', async () => {
    expect(await bus.log.position('identity', 0)).toMatchObject({ offset: 0, nextKept: false });
  });

  test.each([
    [0, true],
    [1, true],
    [2, false],
    [3, false],
  ])('asked about a reader at %i of 2 says whether the next event is kept: %p', async (reader, nextKept) => {
    await bus.log.publish(publications(2));
    expect(await bus.log.position('identity', reader)).toMatchObject({ offset: 2, nextKept });
  });

  test.each([
    [0, false],
    [2, false],
    [3, true],
    [4, true],
    [5, false],
  ])('trimmed to 4 and 5, for a reader at %i: %p', async (reader, nextKept) => {
    await bus.log.publish(publications(5));
    await bus.redis.xtrim(keys.stream('identity'), 'MINID', '4-0');
    expect(await bus.log.position('identity', reader)).toMatchObject({ offset: 5, nextKept });
  });

  test('stays when every event has been trimmed', async () => {
    await bus.log.publish(publications(3));
    await bus.redis.xtrim(keys.stream('identity'), 'MAXLEN', 0);
    expect(await bus.log.position('identity', 3)).toMatchObject({ offset: 3, nextKept: false });
    expect((await bus.log.publish([publication()]))[0]?.offsets.identity).toBe(4);
  });

  test('says nothing about the next event unless asked', async () => {
    await bus.log.publish(publications(2));
    expect((await bus.log.position('identity')).nextKept).toBe(false);
  });
});
