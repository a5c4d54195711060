import { createEvent } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { matcher, topics } from '../bus/topic.ts';
import type { Trx } from '../db/database.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { describeError } from '../errors.ts';
import { type Missed, missedOf, patternsOf } from './subscription.ts';

/** An event of the log. */
export interface Dispatchable {
  readonly id: string;
  readonly topic: string;
  /** Its wire data. */
  readonly data: string;
}

/** What was written down. */
export interface Dispatched {
  /** Subscriptions that may get events. */
  readonly subscriptions: number;
  /** Those that get some of these. */
  readonly receivers: ReadonlySet<string>;
  /** Those whose patterns cannot be read, which were disabled and told. */
  readonly unreadable: readonly string[];
}

type Matches = (topic: string) => boolean;

/** Values of one statement; PostgreSQL takes 65,535 parameters, SQLite 32,766. */
const ROWS_OF_A_STATEMENT = 500;
/** Stretches that a subscription remembers. */
const MOST_MISSED = 20;

/** Patterns that were taken apart, by their text: most transactions meet the same ones. */
export class Matchers {
  #known = new Map<string, Matches>();

  /**
   * The subscriptions with what they match; only these are remembered.
   * @param onUnreadable gets those whose patterns no longer can be read
   */
  of<Row extends Pick<WebhookSubscriptionRow, 'topic_patterns'>>(
    rows: readonly Row[],
    onUnreadable: (row: Row, error: unknown) => void,
  ): (Row & { readonly matches: Matches })[] {
    const known = new Map<string, Matches>();
    const all = rows.flatMap((row) => {
      try {
        const text = row.topic_patterns;
        const matches = known.get(text) ?? this.#known.get(text) ?? matcher(patternsOf(row));
        known.set(text, matches);
        return [{ ...row, matches }];
      } catch (error) {
        onUnreadable(row, error);
        return [];
      }
    });
    this.#known = known;
    return all;
  }
}

/**
 * Writes down what is to be delivered to whom: a delivery for each subscription whose patterns match, however many of them do. It belongs in the
 * transaction that moves the dispatcher's position on, so that each event is dispatched once, by the patterns of that moment: an edit
 * is before or after an event, never in between.
 * @param now milliseconds since the epoch
 */
export async function dispatch(
  trx: Trx,
  events: readonly Dispatchable[],
  matchers: Matchers,
  now: number,
): Promise<Dispatched> {
  const rows = await trx
    .selectFrom('webhook_subscriptions')
    .select(['uuid', 'name', 'topic_patterns'])
    .where('enabled', '=', 1)
    .execute();
  const unreadable: { row: { uuid: string; name: string }; error: unknown }[] = [];
  const subscriptions = matchers.of(rows, (row, error) => unreadable.push({ row, error }));
  for (const { row, error } of unreadable) await disableUnreadable(trx, row, error, now);
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
  return {
    subscriptions: subscriptions.length,
    receivers: new Set(deliveries.map(({ subscription }) => subscription)),
    unreadable: unreadable.map(({ row }) => row.uuid),
  };
}

/** Nobody can say what it would have got: it stops where an operator sees it, instead of holding up all others. */
async function disableUnreadable(
  trx: Trx,
  { uuid, name }: { uuid: string; name: string },
  cause: unknown,
  now: number,
) {
  const error = `its topic_patterns cannot be read, write them again: ${describeError(cause)}`;
  await trx
    .updateTable('webhook_subscriptions')
    .set((eb) => ({
      enabled: 0,
      auto_disabled_at: new Date(now).toISOString(),
      last_error: error,
      revision: eb('revision', '+', 1),
    }))
    .where('uuid', '=', uuid)
    .execute();
  await appendToOutbox(trx, [
    createEvent(topics.webhookDisabled(uuid), 'disabled', { uuid, name, reason: error }),
    createEvent(topics.webhookSubscriptionsChanged, 'changed', {}),
  ]);
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
