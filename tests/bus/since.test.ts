import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { keys } from '../../src/bus/keys.ts';
import { recovery } from '../../src/stream/recovery.ts';
import { seeded } from '../support/random.ts';
import { type Bus, createBus, publication, publications, storedLog, upTo } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

/** Seconds, by the clock of Redis. */
async function redisTime(): Promise<number> {
  const [seconds, micros] = await bus.redis.time();
  return Number(seconds) + Number(micros) / 1e6;
}

/** How a stream opens that is to begin at a time. */
async function opening(seconds: number): Promise<unknown> {
  const cursor = await bus.log.placeSince(seconds);
  return recovery.open({ kind: 'from', cursor }, await bus.log.position('log', cursor.offset));
}

const resumedAt = (offset: number) => ({ kind: 'resume', place: expect.objectContaining({ offset }) });
const trimmed = { kind: 'reset', reason: 'trimmed' };

test('stands before exactly the events that were published at a time or later', async () => {
  const random = seeded(7);
  const times: { at: number; published: number }[] = [{ at: await redisTime(), published: 0 }];
  let published = 0;
  for (let round = 0; round < 40; round += 1) {
    const count = random.between(1, 9);
    await bus.log.publish(publications(count));
    published += count;
    times.push({ at: await redisTime(), published });
  }
  for (const { at, published } of times) expect(await opening(at)).toEqual(resumedAt(published));
  expect(await opening(-3600)).toEqual(resumedAt(0));
  expect(await opening((await redisTime()) + 3600)).toEqual(resumedAt(published));
});

test('is not misled by events that are told long after they happened', async () => {
  await bus.log.publish(publications(20));
  const at = await redisTime();
  await bus.log.publish(publications(3));
  const late = Date.now() - 86_400_000;
  await bus.log.publish(upTo(60).map(() => ({ event: createEvent('identity.formed', '', {}, undefined, late) })));
  await bus.log.publish(publications(2));
  expect(await opening(at)).toEqual(resumedAt(20));
});

test('goes on in further calls where events are large', async () => {
  const text = 'x'.repeat(200_000);
  for (const n of upTo(20)) await bus.log.publish([publication('identity.formed', { n, text })]);
  const at = await redisTime();
  for (const n of upTo(20)) await bus.log.publish([publication('identity.formed', { n, text })]);
  expect(await opening(at)).toEqual(resumedAt(20));
});

test('says that history may begin later than the time, unless all that is kept is asked for', async () => {
  await bus.log.publish(publications(50));
  const at = await redisTime();
  await bus.log.publish(publications(50));
  await bus.redis.xtrim(keys.stream('log'), 'MINID', '21-0');
  expect(await opening(-3600)).toEqual(trimmed);
  expect(await opening(0)).toEqual(resumedAt(20));
  expect(await opening(at)).toEqual(resumedAt(50));
  await bus.redis.xtrim(keys.stream('log'), 'MINID', '52-0');
  expect(await opening(at)).toEqual(trimmed);
  await bus.redis.xtrim(keys.stream('log'), 'MAXLEN', 0);
  expect(await opening(at)).toEqual(trimmed);
  expect(await opening(0)).toEqual(resumedAt(100));
});

test('stands at the beginning of an empty log', async () => {
  expect(await opening(-60)).toEqual(resumedAt(0));
  expect(await opening(0)).toEqual(resumedAt(0));
});

test('takes the time at which it happened where an entry does not say when it was published', async () => {
  const now = Date.now() / 1000;
  const entry = (id: number, ts: number, before: string) =>
    bus.redis.xadd(
      keys.stream('log'),
      `${id}-0`,
      ...['chain', `${before} 0000000${id} 1`, 'id', `e${id}`, 'topic', 'identity.formed'],
      ...['data', `{"topic":"identity.formed","type":"","ts":${ts},"payload":{"ts":1}}`],
    );
  await bus.redis.hset(keys.meta, { epoch: 'old', 'offset:log': 2, 'proof:log': '00000002' });
  await entry(1, now - 100, '0');
  await entry(2, now - 10, '00000001');
  expect(await opening(now - 50)).toEqual(resumedAt(1));
});

test('tells nobody who reads the log when it was published', async () => {
  await bus.log.publish([publication()]);
  expect(Object.keys((await storedLog(bus.redis))[0] ?? {})).not.toContain('published');
});
