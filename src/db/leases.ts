import { sql } from 'kysely';
import type { Db } from './database.ts';

/**
 * Takes or renews a role that one node at a time may play. The clock is the caller's: nodes must agree within a fraction
 * of `ttlMs`.
 * @param ttlMs milliseconds after which another node may take it, counted from `now`
 * @param now milliseconds since the epoch
 * @returns true when the caller holds the role
 */
export async function takeLease(
  db: Db,
  name: string,
  holder: string,
  ttlMs: number,
  now = Date.now(),
): Promise<boolean> {
  const row = await db
    .insertInto('leases')
    .values({ name, holder, expires_at: now + ttlMs })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet({ holder, expires_at: now + ttlMs })
        .where((where) =>
          where.or([where('leases.holder', '=', holder), where(sql<number>`leases.expires_at`, '<', now)]),
        ),
    )
    .returning('holder')
    .executeTakeFirst();
  return row?.holder === holder;
}

/** Gives the role back, so that another node need not wait. */
export async function releaseLease(db: Db, name: string, holder: string): Promise<void> {
  await db.deleteFrom('leases').where('name', '=', name).where('holder', '=', holder).execute();
}
