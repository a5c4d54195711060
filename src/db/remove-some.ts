import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Trx } from './database.ts';
import type { Database } from './schema.ts';

/** Rows that are to go. */
export interface RowsToRemove {
  readonly table: keyof Database & string;
  /** Its primary key: in its order rows are found without walking over those that have gone before. */
  readonly key: readonly string[];
  /** Which; default all. */
  readonly only?: RawBuilder<SqlBool>;
}

/**
 * Removes rows of tables, one after the other, so that no statement takes longer than some rows do.
 * @param most rows
 * @returns whether there may be more
 */
export async function removeSome(trx: Trx, tables: readonly RowsToRemove[], most: number): Promise<boolean> {
  let left = most;
  for (const { table, key, only = sql<SqlBool>`1 = 1` } of tables) {
    const columns = sql.join(key.map((name) => sql.ref(name)));
    const { numAffectedRows } = await sql`delete from ${sql.table(table)} where (${columns}) in
      (select ${columns} from ${sql.table(table)} where ${only} order by ${columns} limit ${left})`.execute(trx);
    left -= Number(numAffectedRows ?? 0n);
    if (left <= 0) return true;
  }
  return false;
}

/** Removes all but so many rows. @param order the ones to be kept first */
export async function keepFirst(
  trx: Trx,
  { table, key, only = sql<SqlBool>`1 = 1` }: RowsToRemove,
  order: RawBuilder<unknown>,
  most: number,
): Promise<void> {
  const columns = sql.join(key.map((name) => sql.ref(name)));
  // SQLite wants a limit where there is an offset.
  await sql`delete from ${sql.table(table)} where (${columns}) in
    (select ${columns} from ${sql.table(table)} where ${only} order by ${order} limit 1000000000 offset ${most})`.execute(
    trx,
  );
}
