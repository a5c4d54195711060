import { Database, type SQLQueryBindings } from 'bun:sqlite';
import type { SqliteDatabase } from 'kysely';

export interface SqliteSettings {
  readonly cacheKiB?: number;
  readonly checkpointPages?: number;
}

/**
 * Bun's SQLite in the shape that Kysely's own `SqliteDialect` asks for. WAL lets a second process read while one writes;
 * `synchronous = FULL` because a commit here is the promise that an event will be published.
 * @param path a file, or `:memory:`
 * @param settings.cacheKiB pages that are kept in memory; default 8 MiB
 * @param settings.checkpointPages a commit that finds so many in the log writes them back, while its process waits; default 1000,
 * SQLite's own
 */
export function openBunSqlite(
  path: string,
  { cacheKiB = 8192, checkpointPages = 1000 }: SqliteSettings = {},
): SqliteDatabase {
  const db = new Database(path, { create: true, strict: true });
  db.run('PRAGMA busy_timeout = 5000');
  db.run('PRAGMA journal_mode = WAL');
  db.run('PRAGMA synchronous = FULL');
  db.run('PRAGMA foreign_keys = ON');
  db.run(`PRAGMA cache_size = -${cacheKiB}`);
  db.run(`PRAGMA wal_autocheckpoint = ${checkpointPages}`);
  // From here on whoever asks waits without sleeping in this thread (`busy.ts`).
  db.run('PRAGMA busy_timeout = 0');
  return {
    close: () => db.close(),
    prepare(sql) {
      // A deferred transaction that reads before it writes fails with SQLITE_BUSY when another process wrote in
      // between, and no busy timeout helps (sqlite.org/lang_transaction.html). Taking the write lock first waits.
      const text = sql === 'begin' ? 'begin immediate' : sql;
      // Some pragmas do what they do when they are compiled (sqlite.org/pragma.html): those are compiled each time.
      const statement = /^pragma/i.test(text)
        ? db.prepare<unknown, SQLQueryBindings[]>(text)
        : db.query<unknown, SQLQueryBindings[]>(text);
      const bind = (parameters: readonly unknown[]) => parameters as SQLQueryBindings[];
      return {
        reader: statement.columnNames.length > 0,
        all: (parameters) => statement.all(...bind(parameters)),
        run: (parameters) => statement.run(...bind(parameters)),
        iterate: (parameters) => statement.iterate(...bind(parameters)),
      };
    },
  };
}
