import { matcher } from '../bus/topic.ts';
import type { Trx } from '../db/database.ts';
import { type Missed, missedOf, patternsOf } from './subscription.ts';

/** An event of the log. */
export interface Dispatchable {
  readonly id: string;
  readonly topic: string;
  /** Its wire data. */
  readonly data: string;
}

/** Values of one statement; PostgreSQL takes 65,535 parameters, SQLite 32,766. */
const ROWS_OF_A_STATEMENT = 500;
/** Stretches that a subscription remembers. */
const MOST_MISSED = 20;

/**
 * Writes down what is to be delivered to whom: a delivery for each subscription whose patterns match, however many of them do. It belongs in the
 * transaction that moves the dispatcher's position on, so that each event is dispatched once, by the patterns of that moment: an edit
 * is before or after an event, never in between.
 * @param now milliseconds since the epoch
 * @returns how many deliveries there are to make
 */
export async function dispatch(trx: Trx, events: readonly Dispatchable[], now: number): Promise<number> {
  const rows = await trx
    .selectFrom('webhook_subscriptions')
    .select(['uuid', 'topic_patterns'])
    .where('enabled', '=', 1)
    .execute();
  if (rows.length === 0) return 0;
  const subscriptions = rows.map((row) => ({ uuid: row.uuid, matches: matcher(patternsOf(row)) }));
  const wanted = events.flatMap((event) => {
    const receivers = subscriptions.filter(({ matches }) => matches(event.topic));
    return receivers.length === 0 ? [] : [{ event, receivers }];
  });
  const stored = wanted.map(({ event: { id, topic, data } }) => ({
    ...{ event_id: id, topic, data },
    created_at: now,
    bytes: Buffer.byteLength(data),
  }));
  const deliveries = wanted.flatMap(({ event, receivers }) =>
    receivers.map(({ uuid }) => ({
      ...{ subscription: uuid, event_id: event.id, state: 'pending' as const },
      ...{ attempts: 0, due_at: now, created_at: now },
    })),
  );
  for (const part of inParts(stored)) {
    await trx
      .insertInto('webhook_events')
      .values(part)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  for (const part of inParts(deliveries)) {
    // An event that was published again after the log had lost it was dispatched before.
    await trx
      .insertInto('webhook_deliveries')
      .values(part)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  return deliveries.length;
}

/** Notes on every subscription that events may have been missed: nothing is lost silently. */
export async function noteMissed(trx: Trx, missed: Missed): Promise<void> {
  const rows = await trx
    .selectFrom('webhook_subscriptions')
    .select(['uuid', 'missed'])
    .where('enabled', '=', 1)
    .execute();
  for (const row of rows) {
    const all = [...missedOf(row), missed].slice(-MOST_MISSED);
    await trx
      .updateTable('webhook_subscriptions')
      .set({ missed: JSON.stringify(all) })
      .where('uuid', '=', row.uuid)
      .execute();
  }
}

function* inParts<T>(rows: readonly T[]): Iterable<readonly T[]> {
  for (let at = 0; at < rows.length; at += ROWS_OF_A_STATEMENT) yield rows.slice(at, at + ROWS_OF_A_STATEMENT);
}
