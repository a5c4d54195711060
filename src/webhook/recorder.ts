import { type ExpressionBuilder, sql } from 'kysely';
import { createEvent, type Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import type { Database } from '../db/schema.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Breaker } from './breaker.ts';
import type { DeliveryRequest } from './delivery-queue.ts';
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

/** Results of one transaction: few enough that SQLite, which works in this thread, holds nobody up. */
const MOST_TOGETHER = 64;
const RETRY_MS = 500;
/** DECNET keeps so many characters. */
const MAX_ERROR = 512;

interface Queued {
  readonly result: AttemptResult;
  readonly recorded: PromiseWithResolvers<void>;
}

/** Writes down what became of attempts, many in one transaction, in order, until it is done: a lost result is an event sent twice. */
export class Recorder {
  readonly #db: Db;
  readonly #logger: Log;
  readonly #onCommitted: () => void;
  #queue: Queued[] = [];
  #flushing: Promise<void> | undefined;
  #stopped = false;

  constructor(db: Db, logger: Log, onCommitted: () => void) {
    this.#db = db;
    this.#logger = logger;
    this.#onCommitted = onCommitted;
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
    await this.#flushing;
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0) {
      const together = this.#queue.slice(0, MOST_TOGETHER);
      try {
        const events = await this.#db.transaction().execute((trx) =>
          write(
            trx,
            together.map(({ result }) => result),
          ),
        );
        this.#queue = this.#queue.slice(together.length);
        for (const { recorded } of together) recorded.resolve();
        if (events > 0) this.#onCommitted();
        // Requests and streams have their turn between two transactions.
        await new Promise<void>((resolve) => setImmediate(resolve));
      } catch (error) {
        this.#logger.warn('results of webhooks cannot be recorded; trying again', { error: describeError(error) });
        if (this.#stopped) return this.#abandon(error);
        await Bun.sleep(RETRY_MS);
      }
    }
  }

  #abandon(error: unknown): void {
    for (const { recorded } of this.#queue.splice(0)) recorded.reject(error);
  }
}

/** @returns how many events were committed with it */
async function write(trx: Trx, results: readonly AttemptResult[]): Promise<number> {
  for (const result of results) await writeDeliveries(trx, result);
  const events: Event[] = [];
  for (const all of Map.groupBy(results, ({ subscription }) => subscription.uuid).values()) {
    events.push(...(await writeSubscription(trx, all)));
  }
  if (events.length > 0) await appendToOutbox(trx, events);
  return events.length;
}

async function writeDeliveries(trx: Trx, result: AttemptResult): Promise<void> {
  const { request, outcome, at, dueAt, status, latencyMs, error, excerpt } = result;
  const seqs = request.deliveries.map(({ seq }) => seq);
  const isOver = outcome !== 'retry';
  await trx
    .updateTable('webhook_deliveries')
    .set({
      state: outcome === 'delivered' ? 'delivered' : isOver ? 'dead' : 'pending',
      batch: request.batch,
      attempts: request.attempts + 1,
      due_at: dueAt,
      finished_at: isOver ? at : null,
      status,
      latency_ms: latencyMs,
      error,
    })
    .where('seq', 'in', seqs)
    // Dropped, or given another turn by an operator, meanwhile.
    .where('state', '=', 'pending')
    .execute();
  if (error === null) return;
  const attempt = { number: request.attempts + 1, at, status, latency_ms: latencyMs, error, excerpt };
  await trx
    .insertInto('webhook_attempts')
    .values(seqs.map((delivery) => ({ delivery, ...attempt })))
    .onConflict((conflict) => conflict.columns(['delivery', 'number']).doUpdateSet(attempt))
    .execute();
}

/** @returns what is told of it */
async function writeSubscription(trx: Trx, results: readonly AttemptResult[]): Promise<Event[]> {
  const last = results.at(-1);
  if (last === undefined) return [];
  const { uuid, revision } = last.subscription;
  const count = (outcomes: readonly AttemptResult['outcome'][]) =>
    results.reduce(
      (sum, { outcome, request }) => sum + (outcomes.includes(outcome) ? request.deliveries.length : 0),
      0,
    );
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
    .returning(['name', 'revision', 'enabled'])
    .executeTakeFirst();
  // What an operator changed meanwhile begins anew: nothing that was learnt before is written over it.
  if (row === undefined || row.revision !== revision) return [];
  const { breaker, error } = last;
  const disabled = results.find(({ outcome, givesUp }) => outcome === 'gone' || givesUp);
  await trx
    .updateTable('webhook_subscriptions')
    .set({
      breaker: JSON.stringify(breaker),
      consecutive_failures: breaker.failures,
      last_error: error?.slice(0, MAX_ERROR) ?? null,
      ...(disabled === undefined ? {} : { enabled: 0, auto_disabled_at: new Date(disabled.at).toISOString() }),
    })
    .where('uuid', '=', uuid)
    .execute();
  const about = { uuid, name: row.name, failures: breaker.failures, error: last.error };
  const changed = results.some(({ breakerChanged }) => breakerChanged);
  return [
    ...(changed ? [createEvent(topics.webhookBreaker(uuid), breaker.state, { ...about, state: breaker.state })] : []),
    ...(disabled !== undefined && row.enabled === 1
      ? [
          createEvent(topics.webhookDisabled(uuid), 'disabled', { ...about, reason: disabled.error }),
          createEvent(topics.webhookSubscriptionsChanged, 'changed', {}),
        ]
      : []),
  ];
}

function plus(
  eb: ExpressionBuilder<Database, 'webhook_subscriptions'>,
  column: 'delivered' | 'dead' | 'attempts',
  more: number,
) {
  return eb(column, '+', sql.lit(more));
}
