import { sql } from 'kysely';
import type { Db, Trx } from '../db/database.ts';
import type { OutboxRow } from '../db/schema.ts';
import { channelsOf } from './channel.ts';
import { assertPublishable, type Event } from './event.ts';

/**
 * Commits events together with the state change that they tell (invariant 1). Call it once, as the last statement of the
 * transaction: it locks the revision row of each channel, and transactions that lock them in one order cannot deadlock.
 *
 * The lock also makes commit order, revision order and `seq` order the same within a channel: PostgreSQL hands out
 * sequence numbers before it knows who commits first.
 * @param forget a channel whose subject is deleted in this transaction: its revision goes, and the log drops the channel
 *   when it publishes the last of these events. None of them may belong to it
 * @throws {TopicError} or {EventError} when an event cannot be published
 */
export async function appendToOutbox(trx: Trx, events: readonly Event[], forget: string | null = null): Promise<void> {
  for (const event of events) assertPublishable(event);
  const revisions = await nextRevisions(trx, events, forget);
  for (const [index, event] of events.entries()) {
    const payload = JSON.stringify(event.payload);
    const own: Record<string, number> = {};
    for (const channel of channelsOf(event)) {
      const revision = revisions.get(channel)?.next().value;
      if (revision !== undefined) own[channel] = revision;
    }
    await trx
      .insertInto('outbox')
      .values({
        event_id: event.id,
        topic: event.topic,
        type: event.type,
        ts: event.ts,
        payload,
        revisions: JSON.stringify(own),
        bytes: Buffer.byteLength(payload),
        forget: index === events.length - 1 ? forget : null,
      })
      .execute();
  }
}

/**
 * The rows that are published next, in order: as many as fit, but one at least.
 * @param maxBytes of payload, in UTF-8
 * @returns the rows, and whether others wait behind them
 */
export async function nextOutboxRows(
  db: Db,
  maxRows: number,
  maxBytes: number,
): Promise<{ rows: OutboxRow[]; isMore: boolean }> {
  const sizes = await db.selectFrom('outbox').select(['seq', 'bytes']).orderBy('seq').limit(maxRows).execute();
  let bytes = 0;
  const fitting = sizes.findIndex((row, index) => {
    bytes += row.bytes;
    return bytes > maxBytes && index > 0;
  });
  const chosen = fitting === -1 ? sizes : sizes.slice(0, fitting);
  if (chosen.length === 0) return { rows: [], isMore: false };
  const rows = await db.selectFrom('outbox').selectAll().where('seq', 'in', seqsOf(chosen)).orderBy('seq').execute();
  return { rows, isMore: fitting !== -1 || sizes.length === maxRows };
}

/** Takes out what has been published. */
export async function deleteOutboxRows(db: Db, rows: readonly Pick<OutboxRow, 'seq'>[]): Promise<void> {
  await db.deleteFrom('outbox').where('seq', 'in', seqsOf(rows)).execute();
}

const seqsOf = (rows: readonly Pick<OutboxRow, 'seq'>[]) => rows.map(({ seq }) => seq);

/** The revision of a channel that the transaction's view of the database contains; 0 before the first event. */
export async function channelRevision(trx: Trx, channel: string): Promise<number> {
  const row = await trx
    .selectFrom('channel_revisions')
    .select('revision')
    .where('channel', '=', channel)
    .executeTakeFirst();
  return row?.revision ?? 0;
}

/**
 * Raises each channel's revision by the number of its events; the iterators yield the numbers so taken. A channel that is
 * forgotten is locked in its turn, too: whoever has written to it has committed before this goes on.
 */
async function nextRevisions(
  trx: Trx,
  events: readonly Event[],
  forget: string | null,
): Promise<Map<string, Iterator<number, undefined>>> {
  const counts = new Map<string, number>();
  for (const channel of events.flatMap(channelsOf)) counts.set(channel, (counts.get(channel) ?? 0) + 1);
  if (forget !== null) counts.set(forget, 0);
  const revisions = new Map<string, Iterator<number, undefined>>();
  for (const [channel, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const row = await trx
      .insertInto('channel_revisions')
      .values({ channel, revision: count })
      .onConflict((conflict) =>
        conflict.column('channel').doUpdateSet({ revision: sql<number>`channel_revisions.revision + ${count}` }),
      )
      .returning('revision')
      .executeTakeFirstOrThrow();
    revisions.set(channel, upFrom(row.revision - count + 1));
  }
  if (forget !== null) await trx.deleteFrom('channel_revisions').where('channel', '=', forget).execute();
  return revisions;
}

function* upFrom(first: number): Generator<number, undefined> {
  for (let revision = first; ; revision += 1) yield revision;
}
