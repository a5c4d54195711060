import { type ExpressionBuilder, sql } from 'kysely';
import { createEvent, type Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import { WakeableSleep } from '../bus/wake.ts';
import type { Db, Trx } from '../db/database.ts';
import type { Database } from '../db/schema.ts';
import { storable } from '../db/storable.ts';
import type { DeliveryState } from '../db/webhook-tables.ts';
import { describeError } from '../errors.ts';
import { nextTurn } from '../stream/slices.ts';
import type { Log } from '../telemetry/log.ts';
import type { Breaker } from './breaker.ts';
import type { DeliveryRequest } from './delivery-queue.ts';
import { removeSurplus } from './retention.ts';
import { type Bounds, exceeds, StockChanges } from './stock.ts';
import type { Subscription } from './subscription.ts';

/** How one attempt ended. */
export interface AttemptResult {
  readonly subscription: Pick<Subscription, 'uuid' | 'revision'>;
  readonly request: DeliveryRequest;
  readonly outcome: 'delivered' | 'retry' | 'dead' | 'gone';
  /** Milliseconds since the epoch: the next attempt of `retry`. */
  readonly dueAt: number;
  readonly at: number;
  readonly status: number | null;
  readonly latencyMs: number;
  readonly error: string | null;
  readonly excerpt: string | null;
  /** After this attempt. */
  readonly breaker: Breaker;
  /** It was in another state before. */
  readonly breakerChanged: boolean;
  /** The receiver has failed for so long that nothing more is sent to it. */
  readonly givesUp: boolean;
}

/** Deliveries of one transaction: few enough that SQLite, which works in this thread, holds nobody up. */
const MOST_TOGETHER = 32;
/** After so many failures each result is tried alone, after so many more without what the receiver said. */
const ALONE_AFTER = 2;
const BARE_AFTER = 4;
const RETRY_MS = 500;
/** Surplus is removed when there is so much of it: a statement costs the same for one as for many. */
const SLACK = 0.01;
/** DECNET keeps so many characters. */
const MAX_ERROR = 512;
const MAX_EXCERPT = 4096;

/** The deliveries of a transaction that were waiting still: their seq and their bytes now. */
type Written = ReadonlyMap<number, number>;

interface Queued {
  readonly result: AttemptResult;
  readonly recorded: PromiseWithResolvers<void>;
}

/** Writes down what became of attempts, many in one transaction, in order, until it is done: a lost result is an event sent twice. */
export class Recorder {
  readonly #db: Db;
  readonly #logger: Log;
  readonly #onCommitted: () => void;
  readonly #bounds: Bounds;
  #queue: Queued[] = [];
  #flushing: Promise<void> | undefined;
  readonly #pause = new WakeableSleep();
  #stopped = false;

  /** @param bounds of what is delivered and of dead letters, each: what is over goes before the next is written down */
  constructor(db: Db, logger: Log, onCommitted: () => void, bounds: Bounds) {
    this.#db = db;
    this.#logger = logger;
    this.#onCommitted = onCommitted;
    this.#bounds = bounds;
  }

  /** Resolves once it is committed; rejects only when this is stopped before. */
  record(result: AttemptResult): Promise<void> {
    const recorded = Promise.withResolvers<void>();
    this.#queue.push({ result, recorded });
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
    });
    return recorded.promise;
  }

  /** Writes what waits, once; what cannot be written is sent again by whoever comes next. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#pause.wake();
    await this.#flushing;
  }

  /**
   * Tells that the breaker lets one request through. That it cannot be told does not keep it back.
   * @param breaker half open
   */
  async probing({ uuid, revision }: AttemptResult['subscription'], breaker: Breaker): Promise<void> {
    try {
      const isNoted = await this.#db.transaction().execute(async (trx) => {
        const row = await trx
          .updateTable('webhook_subscriptions')
          .set({ breaker: JSON.stringify(breaker) })
          .where('uuid', '=', uuid)
          .where('revision', '=', revision)
          .returning(['name', 'last_error'])
          .executeTakeFirst();
        if (row === undefined) return false;
        await appendToOutbox(trx, [breakerEvent(uuid, row.name, breaker, row.last_error)]);
        return true;
      });
      if (isNoted) this.#onCommitted();
    } catch (error) {
      this.#logger.debug('the probe of a webhook cannot be told', { webhook: uuid, error: describeError(error) });
    }
  }

  async #flush(): Promise<void> {
    let failures = 0;
    while (this.#queue.length > 0) {
      const together = this.#next(failures >= ALONE_AFTER ? 1 : MOST_TOGETHER);
      const results = together.map(({ result }) => (failures >= BARE_AFTER ? bare(result) : result));
      const begun = performance.now();
      try {
        const { events, grown } = await this.#db.transaction().execute((trx) => write(trx, results));
        this.#queue = this.#queue.slice(together.length);
        for (const { recorded } of together) recorded.resolve();
        if (events > 0) this.#onCommitted();
        failures = 0;
        await this.#makeRoom(grown);
        // Under load half of the time is everybody else's: fan-out works in slices, and each waits for us.
        if (this.#queue.length > 0) await this.#pause.sleep(performance.now() - begun);
        else await nextTurn();
      } catch (error) {
        failures += 1;
        this.#logger.warn('results of webhooks cannot be recorded; trying again', { error: describeError(error) });
        if (this.#stopped) return this.#abandon(error);
        await this.#pause.sleep(RETRY_MS);
      }
    }
  }

  /** Never rejects: what is not removed now is with the next, or by the housekeeping. */
  async #makeRoom(grown: Awaited<ReturnType<StockChanges['write']>>): Promise<void> {
    for (const { subscription, state, stock } of grown) {
      if (state === 'pending' || !exceeds(stock, this.#bounds, SLACK)) continue;
      try {
        const removed = await removeSurplus(this.#db, subscription, state, this.#bounds);
        if (state === 'dead' && removed > 0) {
          this.#logger.warn('there are too many dead letters: the oldest were dropped', {
            webhook: subscription,
            removed,
          });
          this.#onCommitted();
        }
      } catch (error) {
        this.#logger.warn('surplus of a webhook cannot be removed', {
          webhook: subscription,
          error: describeError(error),
        });
      }
    }
  }

  /** The next results, with so many deliveries together; one result at least. */
  #next(most: number): Queued[] {
    let deliveries = 0;
    const end = this.#queue.findIndex(({ result }) => {
      deliveries += result.request.deliveries.length;
      return deliveries > most;
    });
    return this.#queue.slice(0, end === -1 ? undefined : Math.max(1, end));
  }

  #abandon(error: unknown): void {
    for (const { recorded } of this.#queue.splice(0)) recorded.reject(error);
  }
}

/** Without what the receiver said: should there be something that the database does not take, it holds up nobody. */
function bare(result: AttemptResult): AttemptResult {
  return { ...result, excerpt: null, error: result.error === null ? null : 'failed; why cannot be stored' };
}

/** @returns how many events were committed with it, and what subscriptions have more of now */
async function write(trx: Trx, results: readonly AttemptResult[]) {
  const written = await writeDeliveries(trx, results);
  await writeAttempts(trx, results, written);
  const events: Event[] = [];
  const bySubscription = Map.groupBy(results, ({ subscription }) => subscription.uuid);
  // Locked in one order.
  for (const [, all] of [...bySubscription].sort(([a], [b]) => (a < b ? -1 : 1))) {
    events.push(...(await writeSubscription(trx, all, written)));
  }
  const grown = await changesOf(results, written).write(trx);
  if (events.length > 0) await appendToOutbox(trx, events);
  return { events: events.length, grown };
}

/** What the deliveries that were waiting still count for now. */
function changesOf(results: readonly AttemptResult[], written: Written): StockChanges {
  const changes = new StockChanges();
  for (const result of results) {
    const { uuid } = result.subscription;
    const more = attemptBytes(result);
    for (const { seq } of result.request.deliveries) {
      const bytes = written.get(seq);
      if (bytes === undefined) continue;
      if (result.outcome === 'retry') changes.resize(uuid, 'pending', more);
      else {
        changes.add(uuid, 'pending', bytes - more, -1);
        changes.add(uuid, result.outcome === 'delivered' ? 'delivered' : 'dead', bytes);
      }
    }
  }
  return changes;
}

/** What is kept of an attempt of each delivery. */
function attemptBytes(result: AttemptResult): number {
  const error = errorOf(result);
  return error === null ? 0 : Buffer.byteLength(error) + Buffer.byteLength(excerptOf(result) ?? '');
}

/**
 * One statement for all: it is what each delivery costs.
 * @returns the deliveries that were waiting still, and their bytes now: others were dropped, or ended by another node, meanwhile
 */
async function writeDeliveries(trx: Trx, results: readonly AttemptResult[]): Promise<Written> {
  const rows = results.flatMap((result) => {
    const { request, outcome, at, dueAt, status, latencyMs } = result;
    const isOver = outcome !== 'retry';
    const state: DeliveryState = outcome === 'delivered' ? 'delivered' : isOver ? 'dead' : 'pending';
    const finishedAt = isOver ? at : null;
    const error = errorOf(result);
    return request.deliveries.map(
      // Typed, since PostgreSQL takes what is only a parameter for text.
      ({ seq }) => sql`(
        cast(${seq} as bigint), ${state}, cast(${request.batch} as bigint), cast(${request.attempts + 1} as integer),
        cast(${dueAt} as bigint), cast(${finishedAt} as bigint), cast(${status} as integer), cast(${latencyMs} as integer),
        cast(${error} as text), cast(${attemptBytes(result)} as bigint)
      )`,
    );
  });
  // Both engines name the columns of a list of values so.
  const column = <T>(number: number) => sql<T>`${sql.ref(`result.column${number}`)}`;
  const written = await trx
    .updateTable('webhook_deliveries')
    .from(sql`(values ${sql.join(rows)})`.as('result'))
    .set({
      state: column<DeliveryState>(2),
      batch: column<number>(3),
      attempts: column<number>(4),
      due_at: column<number>(5),
      finished_at: column<number | null>(6),
      status: column<number | null>(7),
      latency_ms: column<number>(8),
      error: column<string | null>(9),
      bytes: sql<number>`webhook_deliveries.bytes + ${column<number>(10)}`,
    })
    .where('webhook_deliveries.seq', '=', column<number>(1))
    .where('webhook_deliveries.state', '=', 'pending')
    .returning(['webhook_deliveries.seq', 'webhook_deliveries.bytes'])
    .execute();
  return new Map(written.map(({ seq, bytes }) => [seq, bytes]));
}

async function writeAttempts(trx: Trx, results: readonly AttemptResult[], written: Written) {
  const rows = results.flatMap((result) => {
    const error = errorOf(result);
    if (error === null) return [];
    const { request, at, status, latencyMs } = result;
    const attempt = {
      number: request.attempts + 1,
      at,
      status,
      latency_ms: latencyMs,
      error,
      excerpt: excerptOf(result),
    };
    return request.deliveries.filter(({ seq }) => written.has(seq)).map(({ seq }) => ({ delivery: seq, ...attempt }));
  });
  if (rows.length === 0) return;
  await trx
    .insertInto('webhook_attempts')
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(['delivery', 'number']).doUpdateSet((eb) => ({
        at: eb.ref('excluded.at'),
        status: eb.ref('excluded.status'),
        latency_ms: eb.ref('excluded.latency_ms'),
        error: eb.ref('excluded.error'),
        excerpt: eb.ref('excluded.excerpt'),
      })),
    )
    .execute();
}

/** @returns what is told of it */
async function writeSubscription(trx: Trx, results: readonly AttemptResult[], written: Written): Promise<Event[]> {
  const last = results.at(-1);
  if (last === undefined) return [];
  const { uuid, revision } = last.subscription;
  const count = (outcomes: readonly AttemptResult['outcome'][]) =>
    results
      .filter(({ outcome }) => outcomes.includes(outcome))
      .reduce((sum, { request }) => sum + request.deliveries.filter(({ seq }) => written.has(seq)).length, 0);
  const success = results.findLast(({ error }) => error === null);
  const failure = results.findLast(({ error }) => error !== null);
  const row = await trx
    .updateTable('webhook_subscriptions')
    .set((eb) => ({
      delivered: plus(eb, 'delivered', count(['delivered'])),
      dead: plus(eb, 'dead', count(['dead', 'gone'])),
      attempts: plus(eb, 'attempts', results.length),
      ...(success === undefined ? {} : { last_success_at: new Date(success.at).toISOString() }),
      ...(failure === undefined ? {} : { last_failure_at: new Date(failure.at).toISOString() }),
    }))
    .where('uuid', '=', uuid)
    .returning(['name', 'revision', 'enabled', 'breaker', 'last_error'])
    .executeTakeFirst();
  // What an operator changed meanwhile begins anew: nothing that was learnt before is written over it.
  if (row === undefined || row.revision !== revision) return [];
  const breaker = JSON.stringify(last.breaker);
  const error = errorOf(last);
  const disabled = results.find(({ outcome, givesUp }) => outcome === 'gone' || givesUp);
  if (row.breaker !== breaker || row.last_error !== error || disabled !== undefined) {
    await trx
      .updateTable('webhook_subscriptions')
      .set({
        breaker,
        consecutive_failures: last.breaker.failures,
        last_error: error,
        ...(disabled === undefined ? {} : { enabled: 0, auto_disabled_at: new Date(disabled.at).toISOString() }),
      })
      .where('uuid', '=', uuid)
      .execute();
  }
  const changed = results.some(({ breakerChanged }) => breakerChanged);
  const told = changed ? [breakerEvent(uuid, row.name, last.breaker, error)] : [];
  if (disabled === undefined || row.enabled === 0) return told;
  const about = { uuid, name: row.name, failures: last.breaker.failures, error, reason: errorOf(disabled) };
  return [
    ...told,
    createEvent(topics.webhookDisabled(uuid), 'disabled', about),
    createEvent(topics.webhookSubscriptionsChanged, 'changed', {}),
  ];
}

/** Tells that a breaker has changed its state. */
export function breakerEvent(uuid: string, name: string, { state, failures }: Breaker, error: string | null): Event {
  return createEvent(topics.webhookBreaker(uuid), state, { uuid, name, failures, error, state });
}

/** What receivers say may hold what a database does not take. */
function errorOf({ error }: AttemptResult): string | null {
  return error === null ? null : storable(error, MAX_ERROR);
}

function excerptOf({ excerpt }: AttemptResult): string | null {
  return excerpt === null ? null : storable(excerpt, MAX_EXCERPT);
}

function plus(
  eb: ExpressionBuilder<Database, 'webhook_subscriptions'>,
  column: 'delivered' | 'dead' | 'attempts',
  more: number,
) {
  return eb(column, '+', more);
}
