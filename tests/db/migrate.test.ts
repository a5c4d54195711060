import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { sql } from 'kysely';
import { type Db, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { migrations } from '../../src/db/migrations/index.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';

for (const engine of ENGINES) {
  describe(`migrations on ${engine}`, () => {
    const databases: TestDatabase[] = [];
    const nodes: Db[] = [];
    afterEach(async () => {
      await Promise.all(nodes.splice(0).map((db) => db.destroy()));
      await Promise.all(databases.splice(0).map((database) => database.dispose()));
    });

    const migrated = async () => {
      const database = await createTestDatabase(engine);
      databases.push(database);
      return database;
    };
    const tables = async ({ db }: TestDatabase) => (await db.introspection.getTables()).map(({ name }) => name).sort();

    /** The URL of a database as it is before the first start. */
    async function empty(): Promise<string> {
      const { url, db } = await migrated();
      // Another file in the folder that is removed with the database.
      if (engine === 'sqlite') return `${url}-empty`;
      await sql`drop schema public cascade`.execute(db);
      await sql`create schema public`.execute(db);
      return url;
    }

    /** So many nodes that start on it; they are stopped with the test. */
    function start(url: string, count = 1): Db[] {
      const started = Array.from({ length: count }, () => openDatabase(url, quiet));
      nodes.push(...started);
      return started;
    }

    test('make every table that the schema knows', async () => {
      expect(await tables(await migrated())).toEqual(
        expect.arrayContaining(['channel_revisions', 'leases', 'outbox', 'topologies', 'topology_mutations', 'users']),
      );
    });

    test('run again change nothing and keep what is there', async () => {
      const database = await migrated();
      await database.db.insertInto('leases').values({ name: 'relay', holder: 'a', expires_at: 1 }).execute();
      const before = await tables(database);
      await migrate(database.db, engine);
      expect(await tables(database)).toEqual(before);
      expect(await database.db.selectFrom('leases').select('holder').execute()).toEqual([{ holder: 'a' }]);
    });

    test('are safe when several processes start on an empty database at once', async () => {
      const url = await empty();
      const program = join(import.meta.dir, 'migrate-node.ts');
      const processes = Array.from({ length: 4 }, () =>
        Bun.spawn([process.execPath, program, url], { stderr: 'inherit' }),
      );
      expect(await Promise.all(processes.map(({ exited }) => exited))).toEqual([0, 0, 0, 0]);
      for (const db of start(url)) {
        const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(db);
        expect(rows.map(({ name }) => name)).toEqual(Object.keys(migrations(engine)).sort());
      }
    });

    test('that fail leave nothing half done: the next start finds what the first found', async () => {
      const url = await empty();
      const [db] = start(url);
      if (db === undefined) throw new Error('no database');
      // In the way of the third migration.
      await sql`create table attackers (in_the_way integer)`.execute(db);
      await expect(migrate(db, engine)).rejects.toThrow(/attackers/);
      await sql`drop table attackers`.execute(db);
      await migrate(db, engine);
    });

    test('that fail say so', async () => {
      const [db] = start(await empty());
      if (db === undefined) throw new Error('no database');
      await sql`create table users (in_the_way integer)`.execute(db);
      await expect(migrate(db, engine)).rejects.toThrow(/users/);
    });
  });
}
