import { describe, expect, test } from 'bun:test';
import { intervalMs, intervalOf, pickServices } from '../../src/decky/rotation.ts';
import { seeded } from '../support/random.ts';

describe('picking services', () => {
  test('one to three of the pool, none twice, and another set than before', () => {
    const random = seeded(6);
    const pool = ['ftp', 'http', 'https', 'ssh', 'smb', 'ssh'];
    const sizes = new Set<number>();
    let current: string[] = ['ftp'];
    for (let round = 0; round < 500; round += 1) {
      const picked = pickServices(pool, current, random.next);
      expect(new Set(picked).size).toBe(picked.length);
      expect(picked.every((service) => pool.includes(service))).toBe(true);
      expect(picked).not.toEqual([...current].sort());
      sizes.add(picked.length);
      current = picked;
    }
    expect([...sizes].sort()).toEqual([1, 2, 3]);
  });

  test('every service has its turn', () => {
    const random = seeded(7);
    const pool = ['a', 'b', 'c', 'd', 'e'];
    const seen = new Set(Array.from({ length: 200 }, () => pickServices(pool, [], random.next)).flat());
    expect([...seen].sort()).toEqual(pool);
  });

  test('the order of the present services does not make them another set', () => {
    // Always the first two, until the eleventh attempt picks one.
    let calls = 0;
    const random = () => {
      calls += 1;
      if (calls > 30) return 0;
      return calls % 3 === 1 ? 0.9 : 0;
    };
    expect(pickServices(['a', 'b'], ['b', 'a'], random)).toEqual(['a']);
  });

  test('it gives up after 20 attempts: a pool of one stays as it is', () => {
    let calls = 0;
    const random = () => {
      calls += 1;
      return 0.5;
    };
    expect(pickServices(['ssh'], ['ssh'], random)).toEqual(['ssh']);
    expect(calls).toBe(20 * 2);
  });
});

describe('intervals', () => {
  test.each([
    ['30m', 1_800_000],
    ['12h', 43_200_000],
    ['5d', 432_000_000],
    ['2w', 1_209_600_000],
    ['1M', 2_592_000_000],
    ['1y', 31_536_000_000],
    ['1Y', 31_536_000_000],
    ['100y', 3_153_600_000_000],
  ])('%s', (text, length) => expect(intervalMs(text)).toBe(length));

  test.each([
    '',
    '5',
    'd',
    '0d',
    '05d',
    '-5d',
    '1.5h',
    '5 d',
    '5x',
    '5dd',
    '101y',
    '9999999999m',
    '5d\n',
    'constructor',
  ])('%p is none', (text) => expect(intervalMs(text)).toBeUndefined());

  test('its own comes before that of the fleet', () => {
    expect(intervalOf('5m', 1000)).toBe(300_000);
    expect(intervalOf(null, 1000)).toBe(1000);
    expect(intervalOf(null, null)).toBeNull();
    expect(intervalOf('nonsense', 1000)).toBeNull();
  });
});
