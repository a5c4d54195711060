import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test';
import { Redis } from 'ioredis';
import { keys } from '../../src/bus/keys.ts';
import { contiguityCheck } from '../../src/cli/doctor/contiguity-check.ts';
import { type Bus, createBus, publications } from '../bus/support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

/** Walks; something happens to the log after each portion that is read. */
async function walk(meanwhile: (portions: number) => Promise<void>) {
  let portions = 0;
  const evalsha = async (sha: string, count: number, ...args: string[]) => {
    const answer = await bus.redis.evalsha(sha, count, ...args);
    portions += 1;
    await meanwhile(portions);
    return answer;
  };
  const redis = Object.assign(new Redis(bus.server.url), { evalsha });
  try {
    return await contiguityCheck(redis).look();
  } finally {
    redis.disconnect();
  }
}

test('what is trimmed while it walks is no hole', async () => {
  await bus.log.publish(publications(600));
  let oldest = 1;
  const { findings } = await walk(async () => {
    // Faster than it walks: each portion finds that what comes next is gone.
    await bus.log.publish(publications(300));
    oldest += 300;
    for (const channel of ['log', 'identity']) await bus.redis.xtrim(keys.stream(channel), 'MINID', `${oldest}-0`);
  });
  expect(findings).toEqual([]);
});

test('nor is what is published, or a log that is replaced', async () => {
  await bus.log.publish(publications(400));
  const { findings, facts } = await walk(async (portions) => {
    if (portions === 1) await bus.redis.flushall();
    if (portions < 4) await bus.log.publish(publications(3));
  });
  expect(findings).toEqual([]);
  expect(facts).toContain('2 channels');
});

test('names only so many of what it finds in one channel', async () => {
  await bus.log.publish(publications(100));
  for (let offset = 10; offset < 100; offset += 10) await bus.redis.xdel(keys.stream('identity'), `${offset}-0`);
  const { findings } = await walk(async () => {});
  expect(findings.map(({ name }) => name)).toEqual(Array(5).fill('hole'));
});
