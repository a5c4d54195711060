import { type Selectable, sql } from 'kysely';
import { engineIn, type Trx } from './database.ts';
import type { Database } from './schema.ts';

/**
 * Locks a row until the transaction ends: nobody else changes, locks or deletes it meanwhile, and it is read as it is, after
 * those that had it before have committed. Rows that refer to it may still be added. On SQLite a transaction has locked out
 * all others that write from its beginning (`bun-sqlite.ts`).
 * @param key columns whose values name one row
 * @returns the row; `undefined` when there is none
 */
export async function lockRow<Table extends keyof Database & string>(
  trx: Trx,
  table: Table,
  key: Readonly<Partial<Record<keyof Database[Table] & string, string | number>>>,
): Promise<Selectable<Database[Table]> | undefined> {
  const isIt = Object.entries(key).map(([column, value]) => sql`${sql.ref(column)} = ${value}`);
  if (isIt.length === 0) throw new Error('a row is locked by the values that name it');
  const lock = engineIn(trx) === 'postgres' ? sql`for no key update` : sql``;
  const { rows } = await sql<Selectable<Database[Table]>>`
    select * from ${sql.table(table)} where ${sql.join(isIt, sql` and `)} ${lock}
  `.execute(trx);
  return rows[0];
}
