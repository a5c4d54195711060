import { sql } from 'kysely';
import { createEvent, type Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { matcher, topics } from '../bus/topic.ts';
import { engineIn, type Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { describeError } from '../errors.ts';
import { fallBehind } from './behind.ts';
import type { Standing } from './standing.ts';
import { type Bounds, isFull, StockChanges } from './stock.ts';
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
  /** Those that stay behind from here on: their backlog is full. */
  readonly full: readonly string[];
  /** Some have a standing of their own. */
  readonly isAnyBehind: boolean;
}

export type Matches = (topic: string) => boolean;

const EVENTS = {
  table: 'webhook_events',
  columns: { event_id: 'text', topic: 'text', created_at: 'bigint', bytes: 'integer', data: 'text' },
} as const;
const DELIVERIES = {
  table: 'webhook_deliveries',
  columns: {
    ...({ subscription: 'text', event_id: 'text', state: 'text', attempts: 'integer' } as const),
    ...({ due_at: 'bigint', created_at: 'bigint', bytes: 'bigint' } as const),
  },
} as const;
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
 * is before or after an event, never in between. A subscription whose backlog is full gets none of these: it stays behind, where the dispatcher stood
 * before them.
 * @param at where the dispatcher stood before these events
 * @param now milliseconds since the epoch
 */
export async function dispatch(
  trx: Trx,
  at: Standing,
  events: readonly Dispatchable[],
  matchers: Matchers,
  bounds: Bounds,
  now: number,
): Promise<Dispatched> {
  const rows = await trx
    .selectFrom('webhook_subscriptions as subscription')
    .leftJoin('webhook_stock as stock', (join) =>
      join.onRef('stock.subscription', '=', 'subscription.uuid').on('stock.state', '=', sql.lit('pending')),
    )
    .select(['subscription.uuid', 'subscription.name', 'subscription.topic_patterns', 'subscription.behind'])
    .select(['stock.events', 'stock.bytes'])
    .where('subscription.enabled', '=', 1)
    // Locked in one order.
    .orderBy('subscription.uuid')
    .execute();
  const unreadable: { row: { uuid: string; name: string }; error: unknown }[] = [];
  const subscriptions = matchers.of(rows, (row, error) => unreadable.push({ row, error }));
  for (const { row, error } of unreadable) await disableUnreadable(trx, row, error, now);
  const following = subscriptions.filter(({ behind }) => behind === null);
  const full: string[] = [];
  const told: Event[] = [];
  for (const { uuid, name, matches, ...stock } of following) {
    const pending = { events: stock.events ?? 0, bytes: stock.bytes ?? 0 };
    if (!isFull(pending, bounds) || !events.some(({ topic }) => matches(topic))) continue;
    full.push(uuid);
    told.push(await fallBehind(trx, { uuid, name }, at, pending, now));
  }
  const open = following.filter(({ uuid }) => !full.includes(uuid));
  const receivers = await writeDeliveries(trx, events, open, now);
  if (told.length > 0) await appendToOutbox(trx, told);
  return {
    subscriptions: subscriptions.length,
    receivers,
    unreadable: unreadable.map(({ row }) => row.uuid),
    full,
    isAnyBehind: full.length > 0 || following.length < subscriptions.length,
  };
}

/**
 * Writes down deliveries of these events to these subscriptions, where their patterns match.
 * @returns the subscriptions that get some
 */
export async function writeDeliveries(
  trx: Trx,
  events: readonly Dispatchable[],
  subscriptions: readonly { readonly uuid: string; readonly matches: Matches }[],
  now: number,
): Promise<ReadonlySet<string>> {
  const wanted = events.flatMap(({ id, topic, data }) => {
    const receivers = subscriptions.filter(({ matches }) => matches(topic));
    if (receivers.length === 0) return [];
    const bytes = Buffer.byteLength(data);
    return [{ event: { event_id: id, topic, data, created_at: now, bytes }, receivers }];
  });
  const deliveries = wanted.flatMap(({ event, receivers }) =>
    receivers.map(({ uuid }) => ({
      ...{ subscription: uuid, event_id: event.event_id, state: 'pending' as const },
      ...{ attempts: 0, due_at: now, created_at: now, bytes: event.bytes },
    })),
  );
  const engine = engineIn(trx);
  await insertRows(
    trx,
    engine,
    EVENTS,
    wanted.map(({ event }) => event),
    sql`on conflict do nothing`,
  );
  // An event that was published again after the log had lost it was dispatched before.
  const written = await insertRows<{ subscription: string; bytes: number }>(
    trx,
    engine,
    DELIVERIES,
    deliveries,
    sql`on conflict do nothing returning subscription, bytes`,
  );
  const changes = new StockChanges();
  for (const { subscription, bytes } of written) changes.add(subscription, 'pending', bytes);
  await changes.write(trx);
  return new Set(deliveries.map(({ subscription }) => subscription));
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

/** Notes on every subscription that events may have been missed: nothing is lost silently. Those that are behind note their own. */
export async function noteMissed(trx: Trx, missed: Missed): Promise<void> {
  const rows = await trx
    .selectFrom('webhook_subscriptions')
    .select(['uuid', 'missed'])
    .where('enabled', '=', 1)
    .where('behind', 'is', null)
    .orderBy('uuid')
    .execute();
  for (const row of rows) {
    await trx
      .updateTable('webhook_subscriptions')
      .set({ missed: withMissed(row, missed) })
      .where('uuid', '=', row.uuid)
      .execute();
  }
}

/** What a subscription has missed, with one stretch more. */
export function withMissed(row: Pick<WebhookSubscriptionRow, 'missed'>, missed: Missed): string {
  return JSON.stringify([...missedOf(row), missed].slice(-MOST_MISSED));
}
