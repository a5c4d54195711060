import { WakeableSleep } from '../bus/wake.ts';
import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { admit, type Breaker, type BreakerRules, failed, succeeded } from './breaker.ts';
import { bindBatch, type DeliveryRequest, dueRequests } from './delivery-queue.ts';
import type { AttemptResult, Recorder } from './recorder.ts';
import { type Outcome, retryDelayMs } from './retry.ts';
import type { SharedBytes } from './shared-bytes.ts';
import type { Subscription } from './subscription.ts';

/** One attempt of a request, to its end. */
export interface Attempt {
  readonly outcome: Outcome;
  readonly status: number | null;
  readonly excerpt: string | null;
  /** Events of the request that cannot be sent, ever, by their ids, and why; the outcome is that of the others, if there are any. */
  readonly unsent?: ReadonlyMap<string, string>;
}

export interface LaneParts {
  readonly db: Db;
  readonly recorder: Pick<Recorder, 'record' | 'probing'>;
  /** Of the requests under way, of all lanes. */
  readonly memory: SharedBytes;
  readonly logger: Log;
  readonly rules: LaneRules;
  /** Never rejects: what goes wrong is an outcome. */
  attempt(subscription: Subscription, request: DeliveryRequest): Promise<Attempt>;
  /** Whether this node still is the one that delivers. */
  leads(): boolean;
  /** Milliseconds since the epoch. */
  now(): number;
  /** From 0 to 1. */
  random(): number;
}

export interface LaneRules extends BreakerRules {
  /** Seconds between attempts. */
  readonly schedule: readonly number[];
  /** Milliseconds of failing without a success after which nothing more is sent. */
  readonly disableAfterMs: number;
}

/** Requests that are read ahead. */
const AHEAD = { requests: 32, rows: 400, bytes: 256 * 1024 } as const;
/** Results that wait to be written down: while the database takes none, no more are made. */
const MOST_UNRECORDED = 64;
/** The longest sleep: what another process wrote is seen then at the latest. */
const POLL_MS = 1000;
const FAILED_MS = 1000;

/**
 * The deliveries of one subscription: as many requests at once as it allows, in order where it asks for that, with its own breaker. No lane
 * waits for another, so a slow receiver delays nobody else.
 */
export class Lane {
  readonly #parts: LaneParts;
  readonly #sleep = new WakeableSleep();
  /** Deliveries that are read ahead or under way, until their result is written down. */
  readonly #taken = new Set<number>();
  readonly #underWay = new Set<Promise<void>>();
  #subscription: Subscription;
  #breaker: Breaker;
  #ahead: DeliveryRequest[] = [];
  #sending = 0;
  /** Its receiver is gone, or has failed for too long: nothing more is sent before an operator says so. */
  #isOver = false;
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(parts: LaneParts, subscription: Subscription) {
    this.#parts = parts;
    this.#subscription = subscription;
    this.#breaker = subscription.breaker;
    this.#running = this.#run();
  }

  get revision(): number {
    return this.#subscription.revision;
  }

  /** There may be something to do. */
  wake(): void {
    this.#sleep.wake();
  }

  /** The subscription as it is from now on; requests under way end as they began. */
  update(subscription: Subscription): void {
    this.#subscription = subscription;
    this.#breaker = subscription.breaker;
    this.#isOver = false;
    this.#putBack();
    this.wake();
  }

  /** Begins nothing more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.wake();
    await this.#running;
    await Promise.all(this.#underWay);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#sleep.sleep(await this.#sendDue());
      } catch (error) {
        this.#parts.logger.warn('deliveries of a webhook cannot be read; trying again', {
          subscription: this.#subscription.uuid,
          error: describeError(error),
        });
        await this.#sleep.sleep(FAILED_MS);
      }
    }
  }

  /** Begins all that may begin. @returns milliseconds until there may be more, unless it is woken before */
  async #sendDue(): Promise<number> {
    for (;;) {
      const now = this.#parts.now();
      if (this.#stopped || this.#isOver || !this.#parts.leads() || !this.#hasRoom(now)) return this.#untilProbe(now);
      if (this.#ahead.length === 0) {
        const nextAt = await this.#readAhead(now);
        if (this.#ahead.length === 0) return Math.min(Math.max((nextAt ?? now + POLL_MS) - now, 1), POLL_MS);
        // It may have been changed or stopped while it was read.
        continue;
      }
      const [request] = this.#ahead;
      if (request === undefined) continue;
      // One may always be under way, whatever the others hold.
      if (this.#sending > 0 && !this.#parts.memory.hasRoomFor(request.bytes)) return POLL_MS;
      this.#ahead.shift();
      this.#begin(request, now);
    }
  }

  #hasRoom(now: number): boolean {
    if (this.#underWay.size - this.#sending >= MOST_UNRECORDED) return false;
    const { may } = admit(this.#breaker, now);
    return may === 'all' ? this.#sending < this.#subscription.concurrency : may === 'one' && this.#sending === 0;
  }

  #untilProbe(now: number): number {
    const { state, probeAt } = this.#breaker;
    return state === 'open' && probeAt !== null ? Math.min(Math.max(probeAt - now, 1), POLL_MS) : POLL_MS;
  }

  async #readAhead(now: number): Promise<number | undefined> {
    const subscription = this.#subscription;
    const { requests, nextAt } = await dueRequests(this.#parts.db, subscription, this.#taken, AHEAD, now);
    if (this.#subscription !== subscription) return now;
    for (const request of requests) {
      for (const { seq } of request.deliveries) this.#taken.add(seq);
      this.#ahead.push(request);
    }
    return nextAt;
  }

  #putBack(): void {
    for (const request of this.#ahead.splice(0)) this.#release(request);
  }

  #release({ deliveries }: DeliveryRequest): void {
    for (const { seq } of deliveries) this.#taken.delete(seq);
  }

  #begin(request: DeliveryRequest, now: number): void {
    const { breaker } = admit(this.#breaker, now);
    const isProbe = breaker !== this.#breaker;
    this.#breaker = breaker;
    this.#sending += 1;
    const sending = this.#send(request, isProbe);
    this.#underWay.add(sending);
    void sending.finally(() => {
      this.#underWay.delete(sending);
      this.wake();
    });
  }

  /** Never rejects. */
  async #send(request: DeliveryRequest, isProbe: boolean): Promise<void> {
    const { db, recorder, memory, logger } = this.#parts;
    const subscription = this.#subscription;
    const startedAt = this.#parts.now();
    let isSending = true;
    const done = () => {
      if (!isSending) return;
      isSending = false;
      this.#sending -= 1;
      memory.giveBack(request.bytes);
      this.wake();
    };
    memory.take(request.bytes);
    try {
      if (isProbe) await recorder.probing(subscription, this.#breaker);
      if (request.deliveries.length > 1 && !request.isBound) await bindBatch(db, request);
      const attempt = await this.#parts.attempt(subscription, request);
      const result = this.#judge(subscription, request, attempt, startedAt);
      // In order, the next one waits until it is certain whether this one comes again.
      if (!subscription.isOrdered) done();
      // Those first: what the receiver said is the last word on the subscription.
      await Promise.all(resultsOf(result, attempt).map((each) => recorder.record(each)));
    } catch (error) {
      const isUndecided = this.#breaker.state === 'half_open';
      if (isUndecided) this.#breaker = { ...this.#breaker, state: 'open', probeAt: this.#parts.now() + FAILED_MS };
      // What was read ahead comes after it.
      if (subscription.isOrdered) this.#putBack();
      logger.warn('a delivery of a webhook was not finished; it is sent again', {
        subscription: subscription.uuid,
        error: describeError(error),
      });
    } finally {
      // First this: who looks for the next one must find it, if it comes again.
      this.#release(request);
      done();
    }
  }

  #judge(subscription: Subscription, request: DeliveryRequest, attempt: Attempt, startedAt: number): AttemptResult {
    const { rules, random } = this.#parts;
    const { outcome, status, excerpt } = attempt;
    const at = this.#parts.now();
    const isDelivered = outcome.kind === 'delivered';
    // An operator's change began a new breaker, of which this attempt says nothing.
    const isCurrent = this.#subscription.revision === subscription.revision;
    const before = this.#breaker.state;
    if (isCurrent) this.#breaker = isDelivered ? succeeded() : failed(this.#breaker, at, rules);
    const delayMs =
      outcome.kind === 'retry'
        ? retryDelayMs(request.attempts + 1, rules.schedule, outcome.retryAfterMs, random())
        : undefined;
    if (outcome.kind === 'retry' && this.#subscription.isOrdered) this.#putBack();
    const { failingSince } = this.#breaker;
    const givesUp = !isDelivered && failingSince !== null && at - failingSince >= rules.disableAfterMs;
    if (isCurrent && (givesUp || outcome.kind === 'gone')) this.#isOver = true;
    return {
      subscription,
      request,
      outcome: outcome.kind === 'retry' && delayMs === undefined ? 'dead' : outcome.kind,
      dueAt: at + Math.ceil(delayMs ?? 0),
      at,
      status,
      latencyMs: Math.max(0, Math.round(at - startedAt)),
      error: isDelivered ? null : outcome.error,
      excerpt,
      breaker: this.#breaker,
      breakerChanged: isCurrent && before !== this.#breaker.state,
      givesUp,
    };
  }
}

/** One result for each event that cannot be sent, then that of the request as it was sent. */
function resultsOf(result: AttemptResult, { unsent = new Map<string, string>() }: Attempt): AttemptResult[] {
  const { request } = result;
  const sent = request.deliveries.filter(({ eventId }) => !unsent.has(eventId));
  // Nothing was sent: that is said of all.
  if (unsent.size === 0 || sent.length === 0) return [result];
  const about = { outcome: 'dead', status: null, excerpt: null, breakerChanged: false, givesUp: false } as const;
  const dead = request.deliveries.flatMap((delivery): AttemptResult[] => {
    const error = unsent.get(delivery.eventId);
    if (error === undefined) return [];
    return [{ ...result, ...about, error, request: { ...request, deliveries: [delivery] } }];
  });
  return [...dead, { ...result, request: { ...request, deliveries: sent } }];
}
