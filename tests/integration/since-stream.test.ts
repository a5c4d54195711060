import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import { keys } from '../../src/bus/keys.ts';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { Clients, eventsOf, newTopology, publish, range, refusal } from './support.ts';

const clients = new Clients();
let plane: Plane;
let node: App;
let redis: Redis;
let token: string;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node({}, { DECNET_SSE_MAX_PER_USER: '3' });
  redis = plane.redis.client();
  token = await plane.token(node.url);
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

const open = (query: string, lastId?: string) =>
  clients.open(node, `/events?topics=attacker.>${query}`, { token, ...(lastId === undefined ? {} : { lastId }) });

/** Publishes numbered events, and says when it was before each. */
async function publishNumbered(...numbers: number[]): Promise<string[]> {
  const before: string[] = [];
  for (const n of numbers) {
    const [seconds, micros] = await redis.time();
    before.push(`${seconds}.${String(micros).padStart(6, '0')}`);
    await publish(node, token, 'attacker.seen', { n });
  }
  return before;
}

const numbersOf = (frames: Parameters<typeof eventsOf>[0]) =>
  eventsOf(frames).map(({ data }) => JSON.parse(data).payload.n);

test('a stream that begins at a time shows exactly what was published from then on, and goes on live', async () => {
  const times = await publishNumbered(...range(1, 6));
  const client = await open(`&since=${times[3]}`);
  await client.untilFrames(4);
  expect(client.frames[0]?.event).toBe('resumed');
  await publish(node, token, 'attacker.seen', { n: 7 });
  await client.untilFrames(5);
  expect(numbersOf(client.frames)).toEqual([4, 5, 6, 7]);
});

test('with once it ends after that, and a cursor wins over a time', async () => {
  const times = await publishNumbered(...range(11, 14));
  const first = await open(`&since=${times[1]}&once=1`);
  await first.untilEnded();
  expect(numbersOf(first.frames)).toEqual([12, 13, 14]);
  const returned = await open(`&since=${times[0]}&once=1`, eventsOf(first.frames)[1]?.id);
  await returned.untilEnded();
  expect(numbersOf(returned.frames)).toEqual([14]);
});

test('is reset where history begins later than the time; since=0 is all that is kept', async () => {
  const times = await publishNumbered(...range(21, 24));
  const length = Number(await redis.xlen(keys.stream('log')));
  await redis.xtrim(keys.stream('log'), 'MAXLEN', 2);
  expect(length).toBeGreaterThan(2);
  const early = await open(`&since=${times[0]}`);
  await early.untilFrames(2);
  expect(early.frames.map(({ event }) => event)).toEqual(['reset', 'ready']);
  expect(JSON.parse(early.frames[0]?.data ?? '')).toEqual({ reason: 'trimmed' });
  const kept = await open('&since=0&once=1');
  await kept.untilEnded();
  expect(numbersOf(kept.frames)).toEqual([23, 24]);
});

test('takes no slot of another stream of its user, for nobody comes back', async () => {
  const others = [await open(''), await open(''), await open('')];
  for (const other of others) await other.untilEvent('ready');
  expect((await open('&since=1h')).status).toBe(429);
  expect(others.every(({ ended }) => !ended)).toBe(true);
});

test.each(['', 'x', '-5', '0m', '10w', '1e3', '1.1234567', '10m,20m'])('refuses the time %p by 422', async (text) => {
  const { response } = await open(`&since=${encodeURIComponent(text)}`);
  expect(await refusal(response)).toEqual({ status: 422, detail: expect.stringContaining('since must be') });
});

test('is refused where a stream begins with its state', async () => {
  const id = await newTopology(plane);
  const { response } = await clients.open(node, `/topologies/${id}/events?since=10m`, { token });
  expect(await refusal(response)).toEqual({ status: 422, detail: expect.stringContaining('since') });
});
