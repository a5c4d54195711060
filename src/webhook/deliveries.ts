import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import type { DeliveryState, WebhookDeliveryRow } from '../db/webhook-tables.ts';
import { AppError } from '../errors.ts';
import { nextTurn } from '../stream/slices.ts';
import { removeDeliveries } from './retention.ts';
import { lockStanding } from './standing.ts';
import { eachStep, STEP } from './steps.ts';
import { StockChanges, stockOf } from './stock.ts';

/** A page of deliveries, the newest first. */
export interface DeliveryPage {
  readonly state?: DeliveryState | undefined;
  /** Only those with a lower seq. */
  readonly before?: number | undefined;
  readonly limit: number;
}

export type DeliveryWithTopic = WebhookDeliveryRow & { readonly topic: string };

/** Which dead letters: some by their seq, a range of them, or all. */
export type DeadLetters =
  | { readonly seqs: readonly number[] }
  | { readonly from: number; readonly to: number }
  | { readonly all: true };

/** Steps of what could find work for ever, where attempts fail as quickly as they are brought forward. */
const MOST_STEPS = 50;

export async function listDeliveries(db: Db, subscription: string, page: DeliveryPage): Promise<DeliveryWithTopic[]> {
  const { state, before, limit } = page;
  let found = withTopic(db).where('delivery.subscription', '=', subscription);
  if (state !== undefined) found = found.where('delivery.state', '=', state);
  if (before !== undefined) found = found.where('delivery.seq', '<', before);
  return found.orderBy('delivery.seq', 'desc').limit(limit).execute();
}

/** A delivery with what it delivers and every failed attempt. @throws {AppError} `not_found` */
export async function inspectDelivery(db: Db, subscription: string, seq: number) {
  const delivery = await withTopic(db)
    .select('event.data')
    .where('delivery.subscription', '=', subscription)
    .where('delivery.seq', '=', seq)
    .executeTakeFirst();
  if (delivery === undefined) throw new AppError('not_found', 'No delivery of this webhook has this number');
  const attempts = await db
    .selectFrom('webhook_attempts')
    .selectAll()
    .where('delivery', '=', seq)
    .orderBy('number')
    .execute();
  return { delivery, attempts };
}

function withTopic(db: Db) {
  return db
    .selectFrom('webhook_deliveries as delivery')
    .innerJoin('webhook_events as event', 'event.event_id', 'delivery.event_id')
    .selectAll('delivery')
    .select('event.topic');
}

/**
 * Gives dead letters another turn, from the first attempt on.
 * @returns how many
 */
export async function redeliver(db: Db, subscription: string, which: DeadLetters, now = Date.now()): Promise<number> {
  return inSteps(db, subscription, which, (rows) =>
    db.transaction().execute(async (trx) => {
      await lockStanding(trx);
      const seqs = rows.map(({ seq }) => seq);
      // Somebody may have dropped some, or sent them again, meanwhile.
      const dead = await trx
        .selectFrom('webhook_deliveries as delivery')
        .innerJoin('webhook_events as event', 'event.event_id', 'delivery.event_id')
        .select(['delivery.seq', 'delivery.bytes', 'event.bytes as event_bytes'])
        .where('delivery.seq', 'in', seqs)
        .where('delivery.state', '=', 'dead')
        .execute();
      if (dead.length === 0) return;
      const changes = new StockChanges();
      for (const { bytes, event_bytes } of dead) {
        changes.add(subscription, 'dead', bytes, -1);
        changes.add(subscription, 'pending', event_bytes);
      }
      const again = dead.map(({ seq }) => seq);
      await trx.deleteFrom('webhook_attempts').where('delivery', 'in', again).execute();
      await trx
        .updateTable('webhook_deliveries')
        .set({ state: 'pending', batch: null, attempts: 0, due_at: now, finished_at: null })
        .set((eb) => ({
          bytes: eb
            .selectFrom('webhook_events')
            .select('webhook_events.bytes')
            .whereRef('webhook_events.event_id', '=', 'webhook_deliveries.event_id')
            .$asScalar()
            .$notNull(),
        }))
        .where('seq', 'in', again)
        .execute();
      await changes.write(trx);
    }),
  );
}

/** Brings forward what waits for another attempt, because its receiver was mended. What is beyond 10,000 comes at its own time. */
export async function tryNow(db: Db, subscription: string, now = Date.now()): Promise<void> {
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const later = await db
      .selectFrom('webhook_deliveries')
      .select('seq')
      .where('subscription', '=', subscription)
      .where('state', '=', sql.lit('pending'))
      .where('due_at', '>', now)
      .orderBy('due_at')
      .limit(STEP)
      .execute();
    if (later.length === 0) return;
    const seqs = later.map(({ seq }) => seq);
    await db
      .updateTable('webhook_deliveries')
      .set({ due_at: now })
      .where('seq', 'in', seqs)
      .where('state', '=', sql.lit('pending'))
      .execute();
    await nextTurn();
  }
}

/** Gives dead letters up. @returns how many */
export async function dropDead(db: Db, subscription: string, which: DeadLetters): Promise<number> {
  return inSteps(db, subscription, which, (rows) => removeDeliveries(db, rows, 'dead'));
}

/** Ends what waits for a subscription to which nothing more is sent: it waits among the dead letters for a decision. */
export async function endPending(db: Db, subscription: string, error: string, now = Date.now()): Promise<number> {
  const dead = { state: 'dead', finished_at: now, error } as const;
  return eachStep(
    () => seqsOf(db, subscription, 'pending').limit(STEP).execute(),
    (rows) =>
      db.transaction().execute(async (trx) => {
        const ended = await trx
          .updateTable('webhook_deliveries')
          .set(dead)
          .where(
            'seq',
            'in',
            rows.map(({ seq }) => seq),
          )
          .where('state', '=', 'pending')
          .returning('bytes')
          .execute();
        await trx
          .updateTable('webhook_subscriptions')
          .set((eb) => ({ dead: eb('dead', '+', ended.length) }))
          .where('uuid', '=', subscription)
          .execute();
        const changes = new StockChanges();
        for (const { bytes } of ended) {
          changes.add(subscription, 'pending', bytes, -1);
          changes.add(subscription, 'dead', bytes);
        }
        await changes.write(trx);
      }),
  );
}

/** What it keeps, and since when the oldest that waits does, in milliseconds since the epoch. */
export async function backlogOf(db: Db, subscription: string) {
  const oldest = await db
    .selectFrom('webhook_deliveries')
    .select('created_at')
    .where('subscription', '=', subscription)
    .where('state', '=', 'pending')
    .orderBy('seq')
    .limit(1)
    .executeTakeFirst();
  return { ...(await stockOf(db, subscription)), oldest: oldest?.created_at ?? null };
}

function seqsOf(db: Db, subscription: string, state: DeliveryState) {
  return db
    .selectFrom('webhook_deliveries')
    .select('seq')
    .where('subscription', '=', subscription)
    .where('state', '=', sql.lit(state))
    .orderBy('seq');
}

function inSteps(
  db: Db,
  subscription: string,
  which: DeadLetters,
  work: (rows: { seq: number }[]) => Promise<void>,
): Promise<number> {
  let from = 'from' in which ? which.from : 0;
  const last = 'to' in which ? which.to : Number.MAX_SAFE_INTEGER;
  return eachStep(async () => {
    let found = seqsOf(db, subscription, 'dead').where('seq', '>=', from).where('seq', '<=', last);
    if ('seqs' in which) found = found.where('seq', 'in', [...which.seqs]);
    const rows = await found.limit(STEP).execute();
    from = (rows.at(-1)?.seq ?? from) + 1;
    return rows;
  }, work);
}
