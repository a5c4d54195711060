import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { type Db, type Engine, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createLog } from '../../src/telemetry/log.ts';

/** Every test that touches the database runs once for each of these. */
export const ENGINES: readonly Engine[] = ['sqlite', 'postgres'];

/** A log that says nothing, for parts whose lines a test does not read. */
export const quiet = createLog('error', () => {});

export interface TestDatabase {
  readonly url: string;
  readonly db: Db;
  dispose(): Promise<void>;
}

/** A fresh, migrated database of its own; PostgreSQL comes from `./scripts/test`. */
export async function createTestDatabase(engine: Engine): Promise<TestDatabase> {
  const { url, drop } = engine === 'sqlite' ? await sqliteFile() : await postgresDatabase();
  const db = openDatabase(url, quiet);
  await migrate(db, engine);
  return {
    url,
    db,
    async dispose() {
      await db.destroy();
      await drop();
    },
  };
}

async function sqliteFile() {
  const folder = await mkdtemp(join(tmpdir(), 'decnet-db-'));
  return { url: `sqlite:${folder}/test.sqlite`, drop: () => rm(folder, { recursive: true, force: true }) };
}

async function postgresDatabase() {
  const server = process.env.TEST_POSTGRES_URL;
  if (server === undefined) {
    throw new Error('TEST_POSTGRES_URL is not set: run the tests by ./scripts/test, which starts PostgreSQL');
  }
  const name = `test_${crypto.randomUUID().replaceAll('-', '')}`;
  await runOn(server, `create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => runOn(server, `drop database ${name} with (force)`) };
}

async function runOn(server: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: server });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}
