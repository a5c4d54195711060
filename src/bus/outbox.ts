import { sql } from 'kysely';
import type { Trx } from '../db/database.ts';
import { channelsOf } from './channel.ts';
import type { Event } from './event.ts';

/**
 * Commits events together with the state change that they tell (invariant 1). Call it once, as the last statement of the
 * transaction: it locks the revision row of each channel, and transactions that lock them in one order cannot deadlock.
 *
 * The lock also makes commit order, revision order and `seq` order the same within a channel: PostgreSQL hands out
 * sequence numbers before it knows who commits first.
 */
export async function appendToOutbox(trx: Trx, events: readonly Event[]): Promise<void> {
  const revisions = await nextRevisions(trx, events);
  for (const event of events) {
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
        payload: JSON.stringify(event.payload),
        revisions: JSON.stringify(own),
      })
      .execute();
  }
}

/** The revision of a channel that the transaction's view of the database contains; 0 before the first event. */
export async function channelRevision(trx: Trx, channel: string): Promise<number> {
  const row = await trx
    .selectFrom('channel_revisions')
    .select('revision')
    .where('channel', '=', channel)
    .executeTakeFirst();
  return row?.revision ?? 0;
}

/** Raises each channel's revision by the number of its events; the iterators yield the numbers so taken. */
async function nextRevisions(trx: Trx, events: readonly Event[]): Promise<Map<string, Iterator<number, undefined>>> {
  const counts = new Map<string, number>();
  for (const channel of events.flatMap(channelsOf)) counts.set(channel, (counts.get(channel) ?? 0) + 1);
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
  return revisions;
}

function* upFrom(first: number): Generator<number, undefined> {
  for (let revision = first; ; revision += 1) yield revision;
}
