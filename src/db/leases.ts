import { sql } from 'kysely';
import type { Db, Trx } from './database.ts';

/**
 * Takes or renews a role that one node at a time may play. The clock is the caller's: nodes must agree within a fraction
 * of `ttlMs`.
 * @param ttlMs milliseconds after which another node may take it, counted from `now`
 * @param now milliseconds since the epoch
 * @returns the term, when the caller holds the role: the same for as long as it renews in time, and higher than that of
 *   every holder before. What is done in the role can carry it, so that a holder that slept is told from its successor.
 *   It begins at the clock's milliseconds, so that it goes on rising when the row is lost or the database restored
 */
export async function takeLease(
  db: Db,
  name: string,
  holder: string,
  ttlMs: number,
  now = Date.now(),
): Promise<number | undefined> {
  const hasEnded = sql<boolean>`leases.expires_at < ${now}`;
  const row = await db
    .insertInto('leases')
    .values({ name, holder, expires_at: now + ttlMs, term: now })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet({
          holder,
          expires_at: now + ttlMs,
          // One who takes it again after its end cannot know who had it in between.
          term: sql<number>`case when not (${hasEnded}) then leases.term
            when leases.term < ${now} then ${now} else leases.term + 1 end`,
        })
        .where((where) => where.or([where('leases.holder', '=', holder), hasEnded])),
    )
    .returning(['holder', 'term'])
    .executeTakeFirst();
  return row?.holder === holder ? row.term : undefined;
}

/** Gives the role back, so that another node need not wait. The row stays: it counts the terms. */
export async function releaseLease(db: Db, name: string, holder: string): Promise<void> {
  await db
    .updateTable('leases')
    .set({ holder: '', expires_at: 0 })
    .where('name', '=', name)
    .where('holder', '=', holder)
    .execute();
}

/** No term from now on is as low as this one. */
export async function raiseTerm(db: Db, name: string, term: number): Promise<void> {
  await db
    .updateTable('leases')
    .set({ term: term + 1 })
    .where('name', '=', name)
    .where('term', '<=', term)
    .execute();
}

/**
 * Makes sure that nobody else who takes this name does so before the transaction ends: of two, the second waits here and then
 * sees what the first has written. It is no role, and has no holder.
 */
export async function lockNamed(trx: Trx, name: string): Promise<void> {
  await trx
    .insertInto('leases')
    .values({ name, holder: '', expires_at: 0 })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ expires_at: 0 }))
    .execute();
}
