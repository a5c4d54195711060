import { sql } from 'kysely';
import type { Db, Trx } from '../db/database.ts';

/** Adds to numbers that are kept, by their names; less than nothing takes away. */
export async function addToCounters(trx: Trx, add: Readonly<Record<string, number>>): Promise<void> {
  const values = Object.entries(add).flatMap(([name, value]) => (value === 0 ? [] : { name, value }));
  if (values.length === 0) return;
  await trx
    .insertInto('counters')
    .values(values)
    .onConflict((conflict) =>
      conflict.column('name').doUpdateSet({ value: sql<number>`counters.value + excluded.value` }),
    )
    .execute();
}

/** A number that is kept; 0 for one that is not. */
export async function counterOf(db: Db | Trx, name: string): Promise<number> {
  const row = await db.selectFrom('counters').select('value').where('name', '=', name).executeTakeFirst();
  return row?.value ?? 0;
}
