import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresDialect,
  SqliteAdapter,
  SqliteDialect,
  type SqliteDialectConfig,
  type Transaction,
} from 'kysely';
import { Pool, types } from 'pg';
import type { Log } from '../telemetry/log.ts';
import { openBunSqlite, type SqliteSettings } from './bun-sqlite.ts';
import { patient } from './busy.ts';
import { leavingGaps } from './gaps.ts';
import type { Database } from './schema.ts';
import { storableText } from './storable-text.ts';

export type Db = Kysely<Database>;
export type Trx = Transaction<Database>;
export type Engine = 'sqlite' | 'postgres';

// int8 (sequences, counts) as a number: none of ours comes near 2^53.
types.setTypeParser(types.builtins.INT8, Number);

/**
 * SQLite rolls a schema change back like any other, which Kysely does not use: without it the Migrator runs outside a
 * transaction, where two processes that start together run the same migration, and a failed one stays half done.
 */
class TransactionalSqliteDialect extends SqliteDialect {
  readonly #leavesGaps: boolean;

  constructor(config: SqliteDialectConfig, leavesGaps: boolean) {
    super(config);
    this.#leavesGaps = leavesGaps;
  }

  override createDriver(): Driver {
    const driver = patient(storableText(super.createDriver()));
    return this.#leavesGaps ? leavingGaps(driver) : driver;
  }

  override createAdapter(): SqliteAdapter {
    return new TransactionalSqliteAdapter();
  }
}

class StrictPostgresDialect extends PostgresDialect {
  override createDriver(): Driver {
    return storableText(super.createDriver());
  }
}

class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

/**
 * - `background`: work that nobody waits for: an SQLite file is left to others in between;
 * - `serving`: what people wait for, while another process has the background;
 * - `all`: both.
 */
export type DatabasePart = 'all' | 'serving' | 'background';

// Writing back the log of SQLite takes as long as it is large, and nobody's stream goes on meanwhile: whoever serves leaves it to
// the background, which begins long before. Should that be gone, the log does not grow beyond some 100 MB.
const SQLITE: Readonly<Record<DatabasePart, SqliteSettings>> = {
  all: {},
  serving: { checkpointPages: 25_000 },
  background: { checkpointPages: 8000, cacheKiB: 65_536 },
};

/** To PostgreSQL, of one process, at most. */
const CONNECTIONS = { serving: 10, background: 5 } as const;

/** Which engine a connection speaks to. */
export function engineIn(db: Db | Trx): Engine {
  return db.getExecutor().adapter instanceof PostgresAdapter ? 'postgres' : 'sqlite';
}

/** Which engine a `DATABASE_URL` names. */
export function engineOf(url: string): Engine {
  return url.startsWith('sqlite:') ? 'sqlite' : 'postgres';
}

/**
 * Opens the database. Nothing is connected until the first query.
 * @param url `postgres://…` or `sqlite:<path>`; the folder of an SQLite file is created
 * @param part what the process does of all that is to be done with it; default `all`
 */
export function openDatabase(url: string, logger: Log, part: DatabasePart = 'all'): Db {
  if (engineOf(url) === 'sqlite') {
    const path = url.slice('sqlite:'.length);
    if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true });
    const database = openBunSqlite(path, SQLITE[part]);
    return new Kysely<Database>({ dialect: new TransactionalSqliteDialect({ database }, part === 'background') });
  }
  const pool = new Pool({
    connectionString: url,
    max: part === 'background' ? CONNECTIONS.background : CONNECTIONS.serving,
    connectionTimeoutMillis: 5000,
    // A server that has vanished is noticed, not waited for.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  // Without a listener a connection that breaks would end the process. The pool's own hears only those that are idle; the
  // query under way on the others is rejected as well.
  const lost = (error: Error) => logger.warn('database connection lost', { error: error.message });
  pool.on('error', lost);
  pool.on('connect', (client) => client.on('error', lost));
  return new Kysely<Database>({ dialect: new StrictPostgresDialect({ pool }) });
}

/**
 * Runs several reads that see one state of the database. SQLite's transactions are that already; PostgreSQL needs
 * `repeatable read`.
 */
export function readConsistently<T>(db: Db, read: (trx: Trx) => Promise<T>): Promise<T> {
  return db.transaction().setIsolationLevel('repeatable read').execute(read);
}
