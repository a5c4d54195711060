import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { seedDemo } from '../../src/demo/seed.ts';
import { findTopology, listStatusEvents, listTopologies } from '../../src/topology/repository.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';

const NOW = Date.parse('2026-11-21T08:00:00.000Z');
const TABLES = [...(['topologies', 'lans', 'topology_deckies', 'topology_edges', 'topology_status_events'] as const)];

for (const engine of ENGINES) {
  describe(`seedDemo (${engine})`, () => {
    let database: TestDatabase;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
    });
    afterEach(() => database.dispose());

    const dump = async () => {
      const rows: Record<string, string[]> = {};
      for (const table of TABLES) {
        const found: object[] = await database.db.selectFrom(table).selectAll().execute();
        rows[table] = found.map((row) => JSON.stringify(row)).sort();
      }
      return rows;
    };

    test('makes three live topologies whose parts fit together', async () => {
      expect(await seedDemo(database.db, NOW)).toBe(true);
      const { rows } = await listTopologies(database.db, { limit: 50, offset: 0 });
      expect(rows.map(({ status }) => status).sort()).toEqual(['active', 'active', 'degraded']);
      for (const { id, status } of rows) {
        const parts = await findTopology(database.db, id);
        const lans = parts?.lans ?? [];
        const deckies = parts?.deckies ?? [];
        expect(lans.filter((lan) => lan.is_dmz === 1).map((lan) => lan.name)).toEqual(['dmz']);
        expect(lans.length).toBeGreaterThanOrEqual(2);
        expect(deckies.length).toBeGreaterThanOrEqual(3);
        const addresses: string[] = [];
        for (const decky of deckies) {
          const config: { name: string; ips_by_lan: Record<string, string> } = JSON.parse(decky.decky_config ?? '');
          expect(config.name).toBe(decky.name);
          const members = Object.entries(config.ips_by_lan);
          expect(members[0]?.[1]).toBe(decky.ip ?? '');
          for (const [name, ip] of members) {
            const lan = lans.find((candidate) => candidate.name === name);
            expect(lan?.subnet).toBe(ip.replace(/\d+$/, '0/24'));
            const edge = parts?.edges.find(({ decky_uuid, lan_id }) => decky_uuid === decky.uuid && lan_id === lan?.id);
            expect(edge?.is_bridge).toBe(name === members[0]?.[0] ? 0 : 1);
            addresses.push(ip);
          }
        }
        expect(new Set(addresses).size).toBe(addresses.length);
        for (const lan of lans) {
          const homed = deckies.filter((decky) =>
            parts?.edges.some(
              (edge) => edge.decky_uuid === decky.uuid && edge.lan_id === lan.id && edge.is_bridge === 0,
            ),
          );
          // Relative to the LAN in which DECNET draws them, and none on top of another.
          const places = homed.map(({ x, y }) => `${x}/${y}`);
          if (homed.length > 0) expect(places).toContain('12/40');
          expect(new Set(places).size).toBe(places.length);
        }
        const [newest] = await listStatusEvents(database.db, id, 100);
        expect(newest?.to_status).toBe(status);
        expect(newest?.at).toBe(parts?.topology.status_changed_at ?? '');
      }
    });

    test('keeps everything as it is on a second start, also what has changed since', async () => {
      await seedDemo(database.db, NOW);
      await database.db.deleteFrom('topology_edges').execute();
      await database.db.updateTable('topologies').set({ status: 'degraded' }).execute();
      const before = await dump();
      expect(await seedDemo(database.db, NOW + 1)).toBe(false);
      expect(await dump()).toEqual(before);
    });

    test('fills the database once when two nodes start at the same time', async () => {
      const answers = await Promise.all([seedDemo(database.db, NOW), seedDemo(database.db, NOW)]);
      expect(answers.sort()).toEqual([false, true]);
      expect((await dump()).topologies).toHaveLength(3);
    });

    test('gives the same rows in every database', async () => {
      await seedDemo(database.db, NOW);
      const first = await dump();
      for (const table of [...TABLES].reverse()) await database.db.deleteFrom(table).execute();
      await seedDemo(database.db, NOW);
      expect(await dump()).toEqual(first);
    });
  });
}
