import { SQLiteError } from 'bun:sqlite';
import type { DatabaseConnection, Driver } from 'kysely';

/** How long the lock of another process is waited for, in milliseconds. */
const PATIENCE_MS = 5000;
/** Between two tries. A random part keeps two who wait from meeting again and again. */
const pauseMs = () => 1 + Math.random() * 3;

/**
 * Waits for the lock of another process without holding up this one: SQLite's own `busy_timeout` sleeps in the thread that
 * asks, and with it everybody's stream. A statement that found the database busy has done nothing, so it is asked again.
 * @throws {SQLiteError} `SQLITE_BUSY` when the lock was not to be had for 5 s
 */
export function patient(driver: Driver): Driver {
  const acquire = driver.acquireConnection.bind(driver);
  const known = new WeakSet<DatabaseConnection>();
  driver.acquireConnection = async (options) => {
    const connection = await acquire(options);
    if (known.has(connection)) return connection;
    known.add(connection);
    const execute = connection.executeQuery.bind(connection);
    connection.executeQuery = async (query, ...rest) => {
      for (const began = performance.now(); ; await Bun.sleep(pauseMs())) {
        try {
          return await execute(query, ...rest);
        } catch (error) {
          if (!isBusy(error) || performance.now() - began > PATIENCE_MS) throw error;
        }
      }
    };
    return connection;
  };
  return driver;
}

function isBusy(error: unknown): boolean {
  return error instanceof SQLiteError && (error.code?.startsWith('SQLITE_BUSY') ?? false);
}
