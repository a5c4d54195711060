import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { asList, script } from '../../src/bus/script.ts';
import { type Bus, createBus } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
afterAll(() => bus.stop());

describe('a script', () => {
  test('gets its keys and arguments, and its fragments come first', async () => {
    const greet = script('local function greet(a, b) return { a, b, #KEYS } end', 'return greet(KEYS[1], ARGV[1])');
    expect(await greet.run(bus.redis, ['{t}:a', '{t}:b'], ['x', 2])).toEqual(['{t}:a', 'x', 2]);
  });

  test.each(['run', 'runNow'] as const)(
    '(%s) goes to a server that does not know it, once, and again after the server forgot it',
    async (how) => {
      const count = script(`return { redis.call('INCR', KEYS[1]), ARGV[1] }`);
      expect(await count[how](bus.redis, [how], ['é'])).toEqual([1, 'é']);
      expect(await count[how](bus.redis, [how], ['é'])).toEqual([2, 'é']);
      await bus.redis.script('FLUSH');
      expect(await count[how](bus.redis, [how], ['é'])).toEqual([3, 'é']);
      expect(await bus.redis.get(how)).toBe('3');
    },
  );

  test('is sent whole only when it must be', async () => {
    const answer = script('return 42');
    await bus.redis.script('FLUSH');
    await bus.redis.config('RESETSTAT');
    for (let run = 0; run < 5; run += 1) await answer.run(bus.redis, [], []);
    const stats = await bus.redis.info('commandstats');
    expect(stats).toMatch(/cmdstat_eval:calls=1,/);
    expect(stats).toMatch(/cmdstat_evalsha:calls=5,/);
  });

  test('that fails is not run a second time', async () => {
    const fail = script(`redis.call('INCR', KEYS[1]) return redis.error_reply('NOTGOOD at all')`);
    await fail.run(bus.redis, ['failures'], []).catch(() => undefined);
    const before = Number(await bus.redis.get('failures'));
    await expect(fail.run(bus.redis, ['failures'], [])).rejects.toThrow('NOTGOOD');
    expect(Number(await bus.redis.get('failures'))).toBe(before + 1);
  });
});

test('an answer that is no list is refused', () => {
  expect(asList(['a', 1])).toEqual(['a', 1]);
  for (const answer of [null, 'OK', 1, {}]) expect(() => asList(answer)).toThrow('unexpected answer');
});
