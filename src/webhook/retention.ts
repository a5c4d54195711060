import { createEvent, type Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import type { DeliveryState } from '../db/webhook-tables.ts';
import { lockStanding } from './standing.ts';
import { eachStep, STEP } from './steps.ts';
import { type Amount, type Bounds, STATES, StockChanges } from './stock.ts';

export interface Retention {
  /** Milliseconds that a delivered one, and a dead letter, is kept. */
  readonly deliveredMs: number;
  readonly deadMs: number;
}

type Seq = { readonly seq: number };

/**
 * Removes what is over: deliveries past their time, those of subscriptions that are no more, and events that nobody needs.
 * @returns how many rows went; a little work each time, so that it can be called often
 */
export async function removeOld(db: Db, { deliveredMs, deadMs }: Retention, now = Date.now()): Promise<number> {
  let removed = 0;
  for (const [state, keptMs] of [
    ['delivered', deliveredMs],
    ['dead', deadMs],
  ] as const) {
    removed += await eachStep(
      () =>
        db
          .selectFrom('webhook_deliveries')
          .select('seq')
          .where('state', '=', state)
          .where('finished_at', '<', now - keptMs)
          .limit(STEP)
          .execute(),
      (rows) => removeDeliveries(db, rows, state),
    );
  }
  for (const uuid of await orphans(db)) removed += await removeAll(db, uuid);
  return removed;
}

/**
 * Removes the oldest of a state, as many as there are too many. Of dead letters each is counted on the subscription, and told: they are events that
 * never arrived.
 * @returns how many went
 */
export async function removeSurplus(
  db: Db,
  subscription: string,
  state: 'delivered' | 'dead',
  bounds: Bounds,
): Promise<number> {
  return eachStep(
    async () => surplusOf(await oldest(db, subscription, state), await stock(db, subscription, state), bounds),
    (rows) => removeDeliveries(db, rows, state, (trx, count) => noteDropped(trx, subscription, state, count, bounds)),
  );
}

/** {@link removeSurplus} of all subscriptions. @returns the dead letters that were dropped, by their subscription */
export async function removeAllSurplus(db: Db, bounds: Bounds): Promise<Map<string, number>> {
  const dropped = new Map<string, number>();
  const full = await db
    .selectFrom('webhook_stock')
    .select(['subscription', 'state'])
    .where('state', '<>', 'pending')
    .where((eb) => eb.or([eb('events', '>', bounds.events), eb('bytes', '>', bounds.bytes)]))
    .execute();
  for (const { subscription, state } of full) {
    if (state === 'pending') continue;
    const count = await removeSurplus(db, subscription, state, bounds);
    if (state === 'dead' && count > 0) dropped.set(subscription, count);
  }
  return dropped;
}

function surplusOf<Row extends { readonly bytes: number }>(rows: readonly Row[], kept: Amount, bounds: Bounds): Row[] {
  let { events, bytes } = kept;
  const surplus: Row[] = [];
  for (const row of rows) {
    if (events <= bounds.events && bytes <= bounds.bytes) break;
    surplus.push(row);
    events -= 1;
    bytes -= row.bytes;
  }
  return surplus;
}

async function oldest(db: Db, subscription: string, state: DeliveryState) {
  return db
    .selectFrom('webhook_deliveries')
    .select(['seq', 'bytes'])
    .where('subscription', '=', subscription)
    .where('state', '=', state)
    .orderBy('seq')
    .limit(STEP)
    .execute();
}

async function stock(db: Db, subscription: string, state: DeliveryState): Promise<Amount> {
  const row = await db
    .selectFrom('webhook_stock')
    .select(['events', 'bytes'])
    .where('subscription', '=', subscription)
    .where('state', '=', state)
    .executeTakeFirst();
  return row ?? { events: 0, bytes: 0 };
}

async function noteDropped(
  trx: Trx,
  uuid: string,
  state: DeliveryState,
  count: number,
  bounds: Bounds,
): Promise<Event[]> {
  if (state !== 'dead') return [];
  const row = await trx
    .updateTable('webhook_subscriptions')
    .set((eb) => ({ dropped: eb('dropped', '+', count) }))
    .where('uuid', '=', uuid)
    .returning(['name', 'dropped'])
    .executeTakeFirst();
  if (row === undefined) return [];
  const about = {
    uuid,
    name: row.name,
    count,
    total: row.dropped,
    kept_events: bounds.events,
    kept_bytes: bounds.bytes,
  };
  return [createEvent(topics.webhookDropped(uuid), 'dropped', about)];
}

/** Removes all deliveries of a subscription that is no more. @returns how many */
export async function removeAll(db: Db, subscription: string): Promise<number> {
  let removed = 0;
  for (const state of STATES) {
    removed += await eachStep(
      () => oldest(db, subscription, state),
      (rows) => removeDeliveries(db, rows, state),
    );
  }
  return removed;
}

/** Whose deliveries are left without a subscription. One look-up for each subscription that has deliveries. */
async function orphans(db: Db): Promise<string[]> {
  const found: string[] = [];
  for (let last = ''; ; ) {
    const next = await db
      .selectFrom('webhook_deliveries')
      .select('subscription')
      .where('subscription', '>', last)
      .orderBy('subscription')
      .limit(1)
      .executeTakeFirst();
    if (next === undefined) return found;
    last = next.subscription;
    const row = await db.selectFrom('webhook_subscriptions').select('uuid').where('uuid', '=', last).executeTakeFirst();
    if (row === undefined) found.push(last);
  }
}

/**
 * Removes those that are in a state still, with what only they needed.
 * @param note told in the same transaction how many these were, if any; what it answers is published
 */
export async function removeDeliveries(
  db: Db,
  rows: readonly Seq[],
  state: DeliveryState,
  note: (trx: Trx, count: number) => Promise<Event[]> = async () => [],
): Promise<void> {
  await db.transaction().execute(async (trx) => {
    // The dispatcher may be about to need one of these events again.
    await lockStanding(trx);
    const gone = await trx
      .deleteFrom('webhook_deliveries')
      .where(
        'seq',
        'in',
        rows.map(({ seq }) => seq),
      )
      // Somebody may have sent it again meanwhile.
      .where('state', '=', state)
      .returning(['seq', 'subscription', 'event_id', 'bytes'])
      .execute();
    if (gone.length === 0) return;
    const changes = new StockChanges();
    for (const { subscription, bytes } of gone) changes.add(subscription, state, bytes, -1);
    await trx
      .deleteFrom('webhook_attempts')
      .where(
        'delivery',
        'in',
        gone.map(({ seq }) => seq),
      )
      .execute();
    await removeUnneeded(
      trx,
      gone.map(({ event_id }) => event_id),
    );
    const events = await note(trx, gone.length);
    await changes.write(trx);
    if (events.length > 0) await appendToOutbox(trx, events);
  });
}

async function removeUnneeded(trx: Trx, eventIds: readonly string[]): Promise<void> {
  await trx
    .deleteFrom('webhook_events')
    .where('event_id', 'in', eventIds)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('webhook_deliveries as other')
            .select('other.seq')
            .whereRef('other.event_id', '=', 'webhook_events.event_id'),
        ),
      ),
    )
    .execute();
}
