import type { LogEntry } from '../bus/entry.ts';
import type { LogHistory, LogPlace } from '../bus/log-history.ts';
import { Loop } from '../bus/loop.ts';
import type { Db, Trx } from '../db/database.ts';
import { takeLease } from '../db/leases.ts';
import { describeError } from '../errors.ts';
import { nextTurn } from '../stream/slices.ts';
import type { Log } from '../telemetry/log.ts';
import { CatchUp, Overtaken, together } from './catch-up.ts';
import { dispatch, Matchers, noteMissed } from './dispatch.ts';
import { WEBHOOK_LEASE } from './lease.ts';
import { after, findStanding, moveStanding, notReached, type Standing } from './standing.ts';
import type { Bounds } from './stock.ts';
import type { Missed } from './subscription.ts';

export interface DispatcherParts {
  readonly db: Db;
  readonly history: Pick<LogHistory, 'read' | 'range'>;
  readonly node: string;
  /** Milliseconds after which another node takes over from one that is silent. */
  readonly leaseMs: number;
  readonly logger: Log;
  /** Deliveries to these subscriptions were written. */
  readonly onDispatched: (subscriptions: ReadonlySet<string>) => void;
  /** What a subscription may have waiting. */
  readonly bounds: Bounds;
  /** Called after each commit that wrote to the outbox. */
  readonly onCommitted: () => void;
}

const POLL_MS = 1000;
/** An event may wait so long for others: a transaction costs the same for one as for many. */
const GATHER_MS = 20;
const RETRY_MS = { first: 100, most: 5000 } as const;

/**
 * The durable consumer of the log for webhooks: moves along it and writes down what is to be delivered, position and deliveries in one
 * transaction. One node is at work at a time, for peace; that each commit asks whether the position still is where it was found is what
 * makes each event dispatched once.
 */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #loop = new Loop(() => this.#turn());
  /** What the database says; `undefined`: to be read again. */
  #stored: Standing | undefined;
  /** Read and not yet dispatched. */
  #ahead: readonly LogEntry[] = [];
  readonly #matchers = new Matchers();
  /** As many as there were when it last looked; each may get each event. */
  #subscriptions = 1;
  /** Some have a standing of their own; asked now and then, too. */
  #isAnyBehind = true;
  readonly #catchUp: CatchUp;
  #renewAt = 0;
  #delayMs: number = RETRY_MS.first;
  #isFailing = false;
  /** It has slept: others may come with what woke it. */
  #isGathering = false;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
    this.#catchUp = new CatchUp(parts);
  }

  start(): void {
    this.#loop.start();
  }

  /** There is something new in the log. */
  wake(): void {
    this.#loop.wake();
  }

  /** Ends after the transaction under way. The lease is left to the deliverer, which ends later. */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  async #turn(): Promise<number> {
    // What comes together is written together.
    if (this.#isGathering) await Bun.sleep(GATHER_MS);
    this.#isGathering = false;
    try {
      const leads = await this.#lead();
      if (!leads) this.#forget();
      const isMore = leads && (await this.#stepAll());
      if (this.#isFailing) this.#parts.logger.info('events are dispatched to webhooks again');
      this.#isFailing = false;
      this.#delayMs = RETRY_MS.first;
      if (isMore) await nextTurn();
      else this.#isGathering = true;
      return isMore ? 0 : POLL_MS;
    } catch (error) {
      // What memory says may not be what the database holds.
      this.#forget();
      return error instanceof Overtaken ? 0 : this.#failed(error);
    }
  }

  /** @returns milliseconds until it is tried again */
  #failed(error: unknown): number {
    const what = 'events cannot be dispatched to webhooks; trying again';
    if (!this.#isFailing) this.#parts.logger.warn(what, { error: describeError(error) });
    this.#isFailing = true;
    const delay = this.#delayMs;
    this.#delayMs = Math.min(delay * 2, RETRY_MS.most);
    return delay;
  }

  async #lead(): Promise<boolean> {
    const { db, node, leaseMs } = this.#parts;
    const now = Date.now();
    if (now < this.#renewAt) return true;
    const term = await takeLease(db, WEBHOOK_LEASE, node, leaseMs, now);
    this.#renewAt = term === undefined ? 0 : now + leaseMs / 3;
    return term !== undefined;
  }

  #forget(): void {
    this.#stored = undefined;
    this.#ahead = [];
  }

  /** All that follow the log together, then one of those that are behind. @returns whether there may be more */
  async #stepAll(): Promise<boolean> {
    const isMore = await this.#step();
    if (isMore && !this.#isAnyBehind) return true;
    const { left, isAnyBehind } = await this.#catchUp.step(await this.#place());
    this.#isAnyBehind = isAnyBehind;
    return isMore || left;
  }

  /** Dispatches what comes next. @returns whether there may be more */
  async #step(): Promise<boolean> {
    const at = await this.#place();
    if (this.#ahead.length === 0) {
      const part = await this.#parts.history.read(at);
      if (part.kind === 'replaced') return this.#realign(at);
      if (part.kind === 'trimmed') return this.#skip(at, part.from);
      // The log holds all that was read and goes on under another epoch: events were lost that had not been read.
      if (part.epoch !== at.epoch) return this.#rename(at, part.epoch);
      this.#ahead = part.entries;
    }
    const entries = together(this.#ahead, this.#subscriptions);
    if (entries.length === 0) return false;
    const { subscriptions, receivers, unreadable, full, isAnyBehind } = await this.#commit(
      at,
      after(at, entries),
      (trx) => dispatch(trx, at, notReached(at, entries), this.#matchers, this.#parts.bounds, Date.now()),
    );
    this.#isAnyBehind = isAnyBehind;
    this.#subscriptions = Math.max(1, subscriptions);
    this.#ahead = this.#ahead.slice(entries.length);
    if (receivers.size > 0) this.#parts.onDispatched(receivers);
    if (unreadable.length > 0) {
      this.#parts.logger.error('webhooks were disabled: their patterns cannot be read', {
        webhooks: unreadable.join(' '),
      });
    }
    if (full.length > 0) {
      this.#parts.logger.warn('backlogs of webhooks are full: what comes waits in the log', {
        webhooks: full.join(' '),
      });
    }
    if (unreadable.length + full.length > 0) this.#parts.onCommitted();
    return true;
  }

  async #place(): Promise<Standing> {
    this.#stored ??= await findStanding(this.#parts.db, this.#parts.history);
    return this.#stored;
  }

  /** What comes next was trimmed before it was read: it goes on behind it, and says so. */
  async #skip(at: Standing, from: LogPlace): Promise<boolean> {
    const missed = { reason: 'trimmed', from: at.offset + 1, to: from.offset } as const;
    await this.#jump(at, { ...at, ...from }, missed);
    return true;
  }

  async #rename(at: Standing, epoch: string): Promise<boolean> {
    await this.#jump(at, { ...at, epoch }, { reason: 'epoch', from: at.offset + 1, to: null });
    return true;
  }

  /** The log is another one, or came back older: it is read from its beginning. */
  async #realign(at: Standing): Promise<boolean> {
    const { begin } = await this.#parts.history.range();
    await this.#jump(at, { ...at, ...begin }, { reason: 'epoch', from: at.offset + 1, to: null });
    return true;
  }

  async #jump(at: Standing, to: Standing, missed: Omit<Missed, 'at'>): Promise<void> {
    this.#parts.logger.error('events of the log were gone before they were dispatched to webhooks', { ...missed });
    await this.#commit(at, to, (trx) => noteMissed(trx, { ...missed, at: new Date().toISOString() }));
  }

  async #commit<T>(at: Standing, to: Standing, work: (trx: Trx) => Promise<T>): Promise<T> {
    const result = await this.#parts.db.transaction().execute(async (trx) => {
      if (!(await moveStanding(trx, at, to))) throw new Overtaken('another node has dispatched these');
      return work(trx);
    });
    this.#stored = to;
    return result;
  }
}
