import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ReplyError } from 'ioredis';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { PublishQueue } from '../../src/bus/publish-queue.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, idsOf, publication, publications, storedLog } from './support.ts';

/** A sender that is told what to answer, and when. */
function gate() {
  const calls: { items: readonly number[]; answer: PromiseWithResolvers<string[]> }[] = [];
  const queue = new PublishQueue<number, string>((items) => {
    const answer = Promise.withResolvers<string[]>();
    calls.push({ items, answer });
    return answer.promise;
  });
  const call = (index: number) => until('the call', () => calls[index]);
  const done = async (index: number) => {
    const { items, answer } = await call(index);
    answer.resolve(items.map((item) => `done ${item}`));
  };
  const refused = async (index: number) => (await call(index)).answer.reject(new ReplyError('WRONGTYPE'));
  return { call, calls, queue, done, refused };
}

describe('publishers that come at the same time', () => {
  test('travel together while others are on their way, in their order, each with an answer of his own', async () => {
    const { call, calls, queue, done } = gate();
    const first = queue.publish([1], 1);
    await call(0);
    const [second, third] = [queue.publish([2, 3], 2), queue.publish([4], 1)];
    expect(calls.map(({ items }) => items)).toEqual([[1]]);
    await done(0);
    expect(await first).toEqual(['done 1']);
    await done(1);
    expect(calls.map(({ items }) => items)).toEqual([[1], [2, 3, 4]]);
    expect([await second, await third]).toEqual([['done 2', 'done 3'], ['done 4']]);
  });

  test('travel together when one turn of the event loop brings them', async () => {
    const { call, queue, done } = gate();
    const all = [1, 2, 3].map((n) => queue.publish([n], 1));
    expect((await call(0)).items).toEqual([1, 2, 3]);
    await done(0);
    expect(await Promise.all(all)).toEqual([['done 1'], ['done 2'], ['done 3']]);
  });

  test('travel in portions that are bounded in events and in size', async () => {
    const { call, calls, queue, done } = gate();
    const all = [queue.publish([0], 1)];
    await call(0);
    for (let n = 1; n <= 1200; n += 1) all.push(queue.publish([n], 1));
    for (let n = 1; n <= 4; n += 1) all.push(queue.publish([2000 + n], 700_000));
    for (let index = 0; index < 7; index += 1) await done(index);
    await Promise.all(all);
    expect(calls.map(({ items }) => items.length)).toEqual([1, 500, 500, 201, 1, 1, 1]);
    expect(calls.flatMap(({ items }) => items)).toHaveLength(1205);
  });

  test('learn each whether the refusal is his, and keep their order', async () => {
    const { call, calls, queue, done, refused } = gate();
    const first = queue.publish([1], 1);
    await call(0);
    const [good, bad, late] = [queue.publish([2], 1), queue.publish([3], 1), queue.publish([4], 1)];
    const outcome = bad.catch(() => 'refused');
    await done(0);
    await first;
    await refused(1);
    await done(2);
    await refused(3);
    await done(4);
    expect(await good).toEqual(['done 2']);
    expect(await outcome).toBe('refused');
    expect(await late).toEqual(['done 4']);
    expect(calls.slice(1).map(({ items }) => items)).toEqual([[2, 3, 4], [2], [3], [4]]);
  });

  test('do not wait one behind the other for a Redis that is away', async () => {
    const { call, calls, queue } = gate();
    const all = [queue.publish([1], 1)];
    await call(0);
    all.push(...[2, 3].map((n) => queue.publish([n], 1)));
    calls[0]?.answer.reject(new Error('Command timed out'));
    const outcomes = await Promise.allSettled(all);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(calls).toHaveLength(1);
    // And it goes on afterwards.
    void queue.publish([4], 1);
    expect((await call(1)).items).toEqual([4]);
  });
});

describe('on a real log', () => {
  let bus: Bus;
  beforeAll(async () => {
    bus = await createBus();
  });
  afterAll(() => bus.stop());

  test('a thousand at once are each published once, in the order in which they came', async () => {
    const events = publications(1000);
    const answers = await Promise.all(events.map((event) => bus.log.publish([event])));
    expect(answers.map(([answer]) => answer?.id)).toEqual(events.map(({ event }) => event.id));
    expect(answers.map(([answer]) => answer?.offsets.log)).toEqual(events.map((_, index) => index + 1));
    expect(idsOf(await storedLog(bus.redis))).toEqual(events.map(({ event }) => event.id));
  });

  test('one whose channel is broken costs the others nothing', async () => {
    await bus.redis.set(keys.stream('topology.broken'), 'not a stream');
    const log = new EventLog(bus.redis, DEFAULTS);
    const events = [
      publication('identity.formed'),
      publication('topology.broken.status'),
      publication('identity.merged'),
    ];
    const outcomes = await Promise.allSettled([publication('a.b'), ...events].map((event) => log.publish([event])));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
  });
});
