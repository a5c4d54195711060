import { countUpTo } from '../db/count-up-to.ts';
import type { Db, Trx } from '../db/database.ts';
import type { OrchestratorEventRow } from '../db/schema.ts';
import { COUNT_LIMIT, type Page, type Paged } from '../http/paging.ts';

/** What the orchestrator does (contract §6.5). Mail has a table of its own. */
export type Kind = 'traffic' | 'file' | 'email';

/** Traffic and files, the newest first, as they are on the wire (contract §6.5). */
export function recentActions(db: Db | Trx, page: Page) {
  return newest(db.selectFrom('orchestrator_events'), page);
}

/** One page of what was done; without a kind it has no mail in it. */
export async function listActions(
  db: Db,
  kind: Kind | undefined,
  page: Page,
): Promise<Paged<ActionOnWire | EmailOnWire>> {
  if (kind === 'email') return listEmails(db, page);
  const all = db.selectFrom('orchestrator_events');
  const found = kind === undefined ? all : all.where('kind', '=', kind);
  const total = await countUpTo(db, found, COUNT_LIMIT);
  return { total, rows: page.offset >= total ? [] : await newest(found, page) };
}

async function newest(found: ReturnType<typeof actions>, { limit, offset }: Page) {
  const rows: OrchestratorEventRow[] = await found
    .selectAll()
    .orderBy('ts', 'desc')
    .orderBy('uuid', 'desc')
    .limit(limit)
    .offset(offset)
    .execute();
  return rows.map((row) => ({ ...row, success: row.success === 1 }));
}

type ActionOnWire = Awaited<ReturnType<typeof newest>>[number];
type EmailOnWire = Awaited<ReturnType<typeof listEmails>>['rows'][number];

const actions = (db: Db) => db.selectFrom('orchestrator_events');

/** Mail in the shape of the other kinds, with what only mail has. */
async function listEmails(db: Db, { limit, offset }: Page) {
  const total = await countUpTo(db, db.selectFrom('orchestrator_emails'), COUNT_LIMIT);
  if (offset >= total) return { total, rows: [] };
  const rows = await db
    .selectFrom('orchestrator_emails')
    .selectAll()
    .orderBy('ts', 'desc')
    .orderBy('uuid', 'desc')
    .limit(limit)
    .offset(offset)
    .execute();
  return {
    total,
    rows: rows.map(({ eml_path: _, success, ...row }) => ({
      ...row,
      kind: 'email' as const,
      protocol: 'smtp',
      action: row.subject,
      src_decky_uuid: row.sender_email,
      dst_decky_uuid: row.recipient_email,
      success: success === 1,
    })),
  };
}

/** How much failed since then, mail included unless a kind says otherwise. @param since ISO time */
export async function countFailures(db: Db, kind: Kind | undefined, since: string): Promise<number> {
  const failed = db.selectFrom('orchestrator_events').where('success', '=', 0).where('ts', '>=', since);
  const failedMail = db.selectFrom('orchestrator_emails').where('success', '=', 0).where('ts', '>=', since);
  if (kind === 'email') return countUpTo(db, failedMail, COUNT_LIMIT);
  if (kind !== undefined) return countUpTo(db, failed.where('kind', '=', kind), COUNT_LIMIT);
  return (await countUpTo(db, failed, COUNT_LIMIT)) + (await countUpTo(db, failedMail, COUNT_LIMIT));
}
