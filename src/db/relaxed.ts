import { sql } from 'kysely';
import type { Db, Engine, Trx } from './database.ts';

/**
 * A transaction whose commit does not wait for the disk. A machine that loses its power may undo the last ones, as a whole
 * and in their order, never parts of them. For rows that can be made again from where they then stand, not for promises.
 */
export function relaxedTransaction<T>(db: Db, engine: Engine, run: (trx: Trx) => Promise<T>): Promise<T> {
  if (engine === 'postgres') {
    return db.transaction().execute(async (trx) => {
      await sql`set local synchronous_commit to off`.execute(trx);
      return run(trx);
    });
  }
  // SQLite takes it outside of transactions only; nobody else has the connection meanwhile.
  return db.connection().execute(async (connection) => {
    await sql`pragma synchronous = normal`.execute(connection);
    try {
      return await connection.transaction().execute(run);
    } finally {
      await sql`pragma synchronous = full`.execute(connection);
    }
  });
}
