import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import type { DeliveryState, WebhookDeliveryRow } from '../db/webhook-tables.ts';
import { AppError } from '../errors.ts';
import { nextTurn } from '../stream/slices.ts';

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

/** Counted no further: a long backlog is long. */
const COUNTED = 10_000;
/** Rows of one statement, so that SQLite holds nobody up. */
const STEP = 200;
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
  return inSteps(db, subscription, which, (seqs) =>
    db.transaction().execute(async (trx) => {
      await trx.deleteFrom('webhook_attempts').where('delivery', 'in', seqs).execute();
      await trx
        .updateTable('webhook_deliveries')
        .set({ state: 'pending', batch: null, attempts: 0, due_at: now, finished_at: null })
        .where('seq', 'in', seqs)
        .where('state', '=', 'dead')
        .execute();
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
  return inSteps(db, subscription, which, (seqs) => deleteDeliveries(db, seqs));
}

/** Ends what waits for a subscription to which nothing more is sent: it waits among the dead letters for a decision. */
export async function endPending(db: Db, subscription: string, error: string, now = Date.now()): Promise<number> {
  const dead = { state: 'dead', finished_at: now, error } as const;
  return eachStep(
    () => seqsOf(db, subscription, 'pending').limit(STEP).execute(),
    (seqs) =>
      db.transaction().execute(async (trx) => {
        const ended = await trx
          .updateTable('webhook_deliveries')
          .set(dead)
          .where('seq', 'in', seqs)
          .where('state', '=', 'pending')
          .returning('seq')
          .execute();
        await trx
          .updateTable('webhook_subscriptions')
          .set((eb) => ({ dead: eb('dead', '+', ended.length) }))
          .where('uuid', '=', subscription)
          .execute();
      }),
  );
}

/** What waits: how many (10,000 at most are counted), and since when the oldest does, in milliseconds since the epoch. */
export async function backlogOf(
  db: Db,
  subscription: string,
): Promise<{ pending: number; dead: number; oldest: number | null }> {
  const count = async (state: DeliveryState) => {
    const { count } = await db
      .selectFrom(seqsOf(db, subscription, state).limit(COUNTED).as('counted'))
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    return count;
  };
  const oldest = await db
    .selectFrom('webhook_deliveries')
    .select('created_at')
    .where('subscription', '=', subscription)
    .where('state', '=', 'pending')
    .orderBy('seq')
    .limit(1)
    .executeTakeFirst();
  return { pending: await count('pending'), dead: await count('dead'), oldest: oldest?.created_at ?? null };
}

export interface Retention {
  /** Milliseconds that a delivered one, and a dead letter, is kept. */
  readonly deliveredMs: number;
  readonly deadMs: number;
}

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
      (seqs) => deleteDeliveries(db, seqs),
    );
  }
  for (const uuid of await orphans(db)) removed += await removeAll(db, uuid);
  return removed;
}

/** Removes all deliveries of a subscription that is no more. @returns how many */
export function removeAll(db: Db, subscription: string): Promise<number> {
  const next = () =>
    db.selectFrom('webhook_deliveries').select('seq').where('subscription', '=', subscription).limit(STEP).execute();
  return eachStep(next, (seqs) => deleteDeliveries(db, seqs));
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

/** With what only they needed. */
async function deleteDeliveries(db: Db, seqs: readonly number[]): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await trx.deleteFrom('webhook_attempts').where('delivery', 'in', seqs).execute();
    const gone = await trx.deleteFrom('webhook_deliveries').where('seq', 'in', seqs).returning('event_id').execute();
    if (gone.length === 0) return;
    await trx
      .deleteFrom('webhook_events')
      .where(
        'event_id',
        'in',
        gone.map(({ event_id }) => event_id),
      )
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
  });
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
  work: (seqs: number[]) => Promise<void>,
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

/** Works through what there is, some rows at a time. @returns how many there were */
async function eachStep(
  next: () => Promise<{ seq: number }[]>,
  work: (seqs: number[]) => Promise<void>,
): Promise<number> {
  let count = 0;
  for (;;) {
    const rows = await next();
    if (rows.length === 0) return count;
    await work(rows.map(({ seq }) => seq));
    count += rows.length;
    await nextTurn();
  }
}
