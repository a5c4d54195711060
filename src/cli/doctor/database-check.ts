import { sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import type { Db, Engine } from '../../db/database.ts';
import { migrations } from '../../db/migrations/index.ts';
import type { Check, Finding } from './check.ts';

/** Whether the database answers, and has the schema of this version. */
export function databaseCheck(db: Db, engine: Engine): Check {
  return {
    name: 'database',
    async look() {
      await sql`select 1`.execute(db);
      const known = migrations(engine);
      // Asks and changes nothing: only migrating makes the table that it reads.
      const found = await new Migrator({ db, provider: { getMigrations: async () => known } }).getMigrations();
      const done = found.filter(({ executedAt }) => executedAt !== undefined);
      const pending = found.filter(({ executedAt }) => executedAt === undefined).map(({ name }) => name);
      const foreign = done.length === 0 ? [] : await appliedBeyond(db, Object.keys(known));
      const findings: Finding[] = [];
      if (pending.length > 0) {
        const text = `migrations are missing: ${pending.join(', ')}`;
        findings.push({
          name: 'migrations',
          text,
          advice: 'start a node of this version: it migrates before it serves',
        });
      }
      if (foreign.length > 0) {
        const text = `the database is newer than this program: ${foreign.join(', ')}`;
        findings.push({ name: 'newer', text, advice: 'update this program, and every node' });
      }
      return { facts: `${engine}, ${done.length} migrations`, findings };
    },
  };
}

async function appliedBeyond(db: Db, known: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
  return rows.map(({ name }) => name).filter((name) => !known.includes(name));
}
