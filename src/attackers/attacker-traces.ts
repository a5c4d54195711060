import { type SqlBool, sql } from 'kysely';
import { countUpTo } from '../db/count-up-to.ts';
import type { Db } from '../db/database.ts';
import type { LogRow } from '../db/schema.ts';
import { COUNT_LIMIT, type Page, type Paged } from '../http/paging.ts';
import type { TriedCommand } from './attacker-draft.ts';
import { attackerCalled } from './called.ts';

/** Lines that tell of something that was kept, by the route that lists them (contract P5). */
export const KEPT = {
  artifacts: 'file_captured',
  transcripts: 'session_recorded',
  mail: 'message_stored',
} as const;
/** Contract P5. */
const MOST_LINES = 200;
/** As in the index of migration 021: SQLite takes it only for a query that has the same condition. */
const IS_KEPT = sql<SqlBool>`event_type in ('file_captured', 'message_stored', 'session_recorded')`;

/** The newest lines of a kind about an attacker, and how many there are. */
export async function keptLines(
  db: Db,
  uuid: string,
  kind: keyof typeof KEPT,
): Promise<{ total: number; data: LogRow[] }> {
  const { ip } = await attackerCalled(db, uuid);
  const found = db.selectFrom('logs').where('attacker_ip', '=', ip).where('event_type', '=', KEPT[kind]).where(IS_KEPT);
  const data = await found.selectAll().orderBy('timestamp', 'desc').orderBy('id', 'desc').limit(MOST_LINES).execute();
  return { total: await countUpTo(db, found, COUNT_LIMIT), data };
}

/** What an attacker typed, in the order in which it became known. */
export async function triedCommands(
  db: Db,
  uuid: string,
  { limit, offset, service }: Page & { readonly service: string | undefined },
): Promise<Paged<TriedCommand>> {
  const { ip } = await attackerCalled(db, uuid);
  let found = db.selectFrom('attacker_commands').where('ip', '=', ip);
  if (service !== undefined) found = found.where('service', '=', service);
  const total = await countUpTo(db, found, COUNT_LIMIT);
  if (offset >= total) return { total, rows: [] };
  const rows = await found
    .select(['service', 'decky', 'command', 'timestamp'])
    .orderBy('seq')
    .limit(limit)
    .offset(offset)
    .execute();
  return { total, rows };
}
