import { type MigrationProvider, Migrator } from 'kysely/migration';
import type { Db, Engine } from './database.ts';
import { migrations } from './migrations/index.ts';

/**
 * Brings the schema up to date. Safe to call from several nodes at once: Kysely's Migrator takes a lock.
 * @throws the error of the first migration that failed
 */
export async function migrate(db: Db, engine: Engine): Promise<void> {
  const provider: MigrationProvider = { getMigrations: async () => migrations(engine) };
  const { error } = await new Migrator({ db, provider }).migrateToLatest();
  if (error !== undefined) throw error;
}
