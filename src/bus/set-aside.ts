import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import type { Bit, OutboxRow, SetAsideRow } from '../db/schema.ts';
import { newEventId } from './event.ts';

/** Why a row of the outbox is set aside. */
export interface SetAsideReason {
  readonly tries: number;
  readonly error: string;
  /** Whether an event that says so was published in its place, under its id. */
  readonly isSubstituted: boolean;
}

/** What a list tells of a row: its payload may be megabytes, so only the beginning. */
export type SetAsideSummary = Omit<SetAsideRow, 'payload'> & { readonly payload_start: string };

const PAYLOAD_START = 500;

/** Moves a row out of the way of the others. Does nothing when another relay has moved or published it. */
export function setAside(db: Db, { seq }: Pick<OutboxRow, 'seq'>, reason: SetAsideReason, now: number): Promise<void> {
  return db.transaction().execute(async (trx) => {
    const row = await trx.deleteFrom('outbox').where('seq', '=', seq).returningAll().executeTakeFirst();
    if (row === undefined) return;
    const { seq: _, ...event } = row;
    const substituted: Bit = reason.isSubstituted ? 1 : 0;
    const { tries, error } = reason;
    const set_aside_at = new Date(now).toISOString();
    await trx
      .insertInto('outbox_set_aside')
      .values({ ...event, tries, error, substituted, set_aside_at })
      .execute();
  });
}

export async function countSetAside(db: Db): Promise<number> {
  const { total } = await db
    .selectFrom('outbox_set_aside')
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .executeTakeFirstOrThrow();
  return total;
}

/** One page, the newest first. */
export function listSetAside(db: Db, { limit, offset }: { limit: number; offset: number }): Promise<SetAsideSummary[]> {
  return db
    .selectFrom('outbox_set_aside')
    .select([
      'event_id',
      'topic',
      'type',
      'ts',
      'bytes',
      'revisions',
      'forget',
      'tries',
      'error',
      'substituted',
      'set_aside_at',
      sql<string>`substr(payload, 1, ${sql.lit(PAYLOAD_START)})`.as('payload_start'),
    ])
    .orderBy('set_aside_at', 'desc')
    .orderBy('event_id')
    .limit(limit)
    .offset(offset)
    .execute();
}

/**
 * Puts a row back at the end of the outbox. Where a substitute bears its id it gets another: the log takes it for published.
 * @returns the id under which it is published now; `undefined` when there is no such row
 */
export function putBack(db: Db, eventId: string): Promise<string | undefined> {
  return db.transaction().execute(async (trx) => {
    const row = await trx
      .deleteFrom('outbox_set_aside')
      .where('event_id', '=', eventId)
      .returningAll()
      .executeTakeFirst();
    if (row === undefined) return undefined;
    const { tries: _, error: __, substituted, set_aside_at: ___, ...event } = row;
    const event_id = substituted === 1 ? newEventId() : row.event_id;
    await trx
      .insertInto('outbox')
      .values({ ...event, event_id })
      .execute();
    return event_id;
  });
}

/** Gives a row up for good. @returns false when there is no such row */
export async function discardSetAside(db: Db, eventId: string): Promise<boolean> {
  const { numDeletedRows } = await db
    .deleteFrom('outbox_set_aside')
    .where('event_id', '=', eventId)
    .executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}
