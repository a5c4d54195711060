import { type SelectQueryBuilder, sql } from 'kysely';
import type { Db, Trx } from './database.ts';
import type { Database } from './schema.ts';

/**
 * How many rows a query finds, counted up to a limit: what has to be walked to be counted must have an end.
 * @param query without a selection
 */
export async function countUpTo<Tables extends keyof Database>(
  db: Db | Trx,
  query: SelectQueryBuilder<Database, Tables, object>,
  limit: number,
): Promise<number> {
  const { total } = await db
    .selectFrom(query.select(sql<number>`1`.as('one')).limit(limit).as('found'))
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .executeTakeFirstOrThrow();
  return total;
}
