import { afterEach, describe, expect, test } from 'bun:test';
import { listAttackers } from '../../src/attackers/attacker-list.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';

const AT = '2026-11-21T08:00:00.000Z';
const ALL = { limit: 50, offset: 0, sortBy: 'recent', search: undefined, service: undefined } as const;
const uuidOf = (index: number) => `a${String(index).padStart(5, '0')}`;

let database: TestDatabase;
afterEach(() => database.dispose());

/** So many attackers, each seen before the one in front of him; the last ones touched telnet, all of them ssh. */
async function attackers(count: number, withTelnet: number, commands = '[]'): Promise<void> {
  const ips = Array.from({ length: count }, (_, index) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`);
  for (let first = 0; first < count; first += 500) {
    const some = ips.slice(first, first + 500);
    const rows = some.map((ip, index) => ({
      uuid: uuidOf(first + index),
      ip,
      first_seen: AT,
      last_seen: new Date(Date.parse(AT) - (first + index) * 1000).toISOString(),
      updated_at: AT,
      commands,
    }));
    await database.db.insertInto('attackers').values(rows).execute();
    const touched = some.flatMap((ip, index) => [
      { service: 'ssh', ip, contact: 1 },
      ...(first + index >= count - withTelnet ? [{ service: 'telnet', ip, contact: 1 }] : []),
    ]);
    await database.db.insertInto('attacker_services').values(touched).execute();
  }
}

for (const engine of ENGINES) {
  describe(`the list of attackers (${engine})`, () => {
    test('follows a filter that fits few to the very last; of one that fits many it looks at the first', async () => {
      database = await createTestDatabase(engine);
      await attackers(5200, 3);
      const list = (asked: object) => listAttackers(database.db, engine, { ...ALL, ...asked });
      const few = await list({ service: 'telnet' });
      expect(few.rows.map(({ uuid }) => uuid)).toEqual([5197, 5198, 5199].map(uuidOf));
      const many = await list({ service: 'ssh' });
      expect([many.total, many.rows[0]?.uuid]).toEqual([5000, uuidOf(0)]);
      // Whatever is said to be there can be turned to.
      expect((await list({ service: 'ssh', offset: 4990 })).rows).toHaveLength(10);
      expect((await list({ service: 'ssh', search: '.20.79' })).rows.map(({ uuid }) => uuid)).toEqual([uuidOf(5199)]);
      expect((await list({ search: '.20.79' })).total).toBe(1);
      expect((await list({})).total).toBe(5200);
    });

    test('gives no more of what attackers typed than fits into an answer, the first of the list first', async () => {
      database = await createTestDatabase(engine);
      const typed = JSON.stringify([{ service: 'ssh', decky: 'd', command: 'x'.repeat(400_000), timestamp: AT }]);
      await attackers(20, 0, typed);
      const { total, rows } = await listAttackers(database.db, engine, ALL);
      expect([total, rows.length]).toEqual([20, 20]);
      expect(rows.map(({ commands }) => commands.length > 2)).toEqual([true, true, ...Array(18).fill(false)]);
    });
  });
}
