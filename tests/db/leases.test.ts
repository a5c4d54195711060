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

    const take = (holder: string, now = NOW, name = 'relay') => takeLease(database.db, name, holder, TTL_MS, now);

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

    test('of another name is another lease', async () => {
      await take('a');
      expect(await take('b', NOW, 'mutator')).toBe(true);
      await releaseLease(database.db, 'mutator', 'b');
      expect(await take('b')).toBe(false);
    });
  });
}
