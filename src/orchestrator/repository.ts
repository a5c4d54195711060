import type { Db, Trx } from '../db/database.ts';

/** Traffic and files, the newest first, as they are on the wire (contract §6.5). */
export async function recentActions(db: Db | Trx, { limit, offset }: { limit: number; offset: number }) {
  const rows = await db
    .selectFrom('orchestrator_events')
    .selectAll()
    .orderBy('ts', 'desc')
    .orderBy('uuid', 'desc')
    .limit(limit)
    .offset(offset)
    .execute();
  return rows.map((row) => ({ ...row, success: row.success === 1 }));
}
