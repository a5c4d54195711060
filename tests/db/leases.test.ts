import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { type Db, openDatabase } from '../../src/db/database.ts';
import { releaseLease, takeLease } from '../../src/db/leases.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';

const NOW = 1_790_000_000_000;
const TTL_MS = 3000;

for (const engine of ENGINES) {
  describe(`a lease on ${engine}`, () => {
    let database: TestDatabase;
    let other: Db;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
      other = openDatabase(database.url, quiet);
    });
    beforeEach(async () => {
      await database.db.deleteFrom('leases').execute();
    });
    afterAll(async () => {
      await other.destroy();
      await database.dispose();
    });

    const term = (holder: string, now = NOW, name = 'relay') => takeLease(database.db, name, holder, TTL_MS, now);
    const take = async (...args: Parameters<typeof term>) => (await term(...args)) !== undefined;

    test('has one holder of thirty that reach for it at once, from two processes’ connections', async () => {
      for (let round = 0; round < 5; round += 1) {
        await database.db.deleteFrom('leases').execute();
        const takers = Array.from({ length: 30 }, (_, index) =>
          takeLease(index % 2 === 0 ? database.db : other, 'relay', `n${index}`, TTL_MS, NOW),
        );
        expect((await Promise.all(takers)).filter(Boolean)).toHaveLength(1);
      }
    });

    test('that has ended finds one new holder of thirty', async () => {
      await take('dead');
      const later = NOW + TTL_MS + 1;
      const takers = Array.from({ length: 30 }, (_, index) => take(`n${index}`, later));
      expect((await Promise.all(takers)).filter(Boolean)).toHaveLength(1);
    });

    test('is renewed by its holder and refused to others until it has ended', async () => {
      expect(await take('a')).toBe(true);
      expect(await take('b')).toBe(false);
      expect(await take('a', NOW + 2000)).toBe(true);
      // Counted from the renewal.
      expect(await take('b', NOW + TTL_MS + 1)).toBe(false);
      expect(await take('b', NOW + 2000 + TTL_MS)).toBe(false);
      expect(await take('b', NOW + 2000 + TTL_MS + 1)).toBe(true);
      expect(await take('a', NOW + 2000 + TTL_MS + 1)).toBe(false);
    });

    test('a refused attempt does not prolong it', async () => {
      await take('a');
      await take('b', NOW + TTL_MS);
      expect(await take('b', NOW + TTL_MS + 1)).toBe(true);
    });

    test('given back is free at once', async () => {
      await take('a');
      await releaseLease(database.db, 'relay', 'a');
      expect(await take('b')).toBe(true);
    });

    test('is given back by its holder only', async () => {
      await take('a');
      await releaseLease(database.db, 'relay', 'b');
      expect(await take('b')).toBe(false);
    });

    test('counts its holders: a renewal keeps the term, every change of hands raises it', async () => {
      const first = await term('a');
      expect(await term('a', NOW + 1000)).toBe(first);
      expect(await term('b', NOW + 1000)).toBeUndefined();
      const second = await term('b', NOW + 10_000);
      expect(second).toBeGreaterThan(Number(first));
      // Back to the first holder, by a clock that is behind.
      await releaseLease(database.db, 'relay', 'b');
      const third = await term('a', NOW);
      expect(third).toBeGreaterThan(Number(second));
    });

    test('taken again by the same holder after its end begins a new term: nobody knows who had it in between', async () => {
      const first = await term('a');
      expect(await term('a', NOW + TTL_MS)).toBe(first);
      expect(await term('a', NOW + 2 * TTL_MS + 1)).toBeGreaterThan(Number(first));
    });

    test('goes on rising when its row was lost: with a backup of the database from before', async () => {
      const before = await term('a');
      await database.db.deleteFrom('leases').execute();
      expect(await term('a', NOW + 1)).toBeGreaterThan(Number(before));
    });

    test('has terms that rise strictly when thirty reach for it again and again', async () => {
      const terms: number[] = [];
      for (let round = 0; round < 5; round += 1) {
        const now = NOW + round * (TTL_MS + 1);
        const taken = await Promise.all(
          Array.from({ length: 30 }, (_, index) =>
            takeLease(index % 2 === 0 ? database.db : other, 'relay', `n${round} ${index}`, TTL_MS, now),
          ),
        );
        terms.push(...taken.filter((one) => one !== undefined));
      }
      expect(terms).toHaveLength(5);
      expect(new Set(terms).size).toBe(5);
      expect(terms).toEqual([...terms].sort((a, b) => a - b));
    });

    test('of another name is another lease', async () => {
      await take('a');
      expect(await take('b', NOW, 'mutator')).toBe(true);
      await releaseLease(database.db, 'mutator', 'b');
      expect(await take('b')).toBe(false);
    });
  });
}
