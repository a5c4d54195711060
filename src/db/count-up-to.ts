import { type SelectQueryBuilder, sql } from 'kysely';
import type { Db, Trx } from './database.ts';

/**
 * How many rows a query finds, counted up to a limit: what has to be walked to be counted must have an end.
 * @param query without a selection
 */
export async function countUpTo<Tables, Name extends keyof Tables>(
  db: Db | Trx,
  query: SelectQueryBuilder<Tables, Name, object>,
  limit: number,
): Promise<number> {
  const { total } = await db
    .selectFrom(query.select(sql<number>`1`.as('one')).limit(limit).as('found'))
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .executeTakeFirstOrThrow();
  return total;
}
