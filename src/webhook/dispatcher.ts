import type { LogEntry } from '../bus/entry.ts';
import type { LogHistory, LogPlace } from '../bus/log-history.ts';
import { WakeableSleep } from '../bus/wake.ts';
import type { Db, Trx } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { dispatch, noteMissed } from './dispatch.ts';
import type { Missed } from './subscription.ts';

export interface DispatcherParts {
  readonly db: Db;
  readonly history: Pick<LogHistory, 'read' | 'range'>;
  readonly node: string;
  readonly logger: Log;
  /** Deliveries were written. */
  readonly onDispatched: () => void;
}

/** Where it stands: a place of the log, and how far it came in each epoch that it knows. */
interface Standing extends LogPlace {
  readonly reached: ReadonlyMap<string, number>;
}

const LEASE = 'webhook-dispatch';
const LEASE_MS = 5000;
const RENEW_MS = LEASE_MS / 3;
const POLL_MS = 1000;
const RETRY_MS = { first: 100, most: 5000 } as const;
/** Entries of one transaction: few enough that SQLite, which works in this thread, holds nobody up. */
const MOST_TOGETHER = 100;
/** Epochs that are remembered: each time the log is lost it gets another. */
const MOST_EPOCHS = 20;
/** The only row. */
const ID = 1;

/** Another node has moved the position meanwhile. */
class Overtaken extends Error {}

/**
 * The durable consumer of the log for webhooks: moves along it and writes down what is to be delivered, position and deliveries in one
 * transaction. One node is at work at a time, for peace; that each commit asks whether the position still is where it was found is what
 * makes each event dispatched once.
 */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #sleep = new WakeableSleep();
  /** What the database says; `undefined`: to be read again. */
  #stored: Standing | undefined;
  /** Read and not yet dispatched. */
  #ahead: readonly LogEntry[] = [];
  #leadsUntil = 0;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** There is something new in the log. */
  wake(): void {
    this.#sleep.wake();
  }

  /** Ends after the transaction under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sleep.wake();
    await this.#running;
    await releaseLease(this.#parts.db, LEASE, this.#parts.node).catch((error) =>
      this.#parts.logger.debug('the lease of the webhook dispatcher ends by itself', { error: describeError(error) }),
    );
  }

  async #run(): Promise<void> {
    const { logger } = this.#parts;
    let delay: number = RETRY_MS.first;
    let isFailing = false;
    while (!this.#stopped) {
      try {
        const leads = await this.#lead();
        if (!leads) this.#forget();
        const isMore = leads && (await this.#step());
        if (isFailing) logger.info('events are dispatched to webhooks again');
        isFailing = false;
        delay = RETRY_MS.first;
        // Between two transactions everybody else has a turn.
        if (isMore) await new Promise<void>((resolve) => setImmediate(resolve));
        else await this.#sleep.sleep(POLL_MS);
      } catch (error) {
        // What memory says may not be what the database holds.
        this.#forget();
        if (error instanceof Overtaken) continue;
        if (!isFailing)
          logger.warn('events cannot be dispatched to webhooks; trying again', { error: describeError(error) });
        isFailing = true;
        await this.#sleep.sleep(delay);
        delay = Math.min(delay * 2, RETRY_MS.most);
      }
    }
  }

  async #lead(): Promise<boolean> {
    const now = Date.now();
    if (now < this.#leadsUntil - LEASE_MS + RENEW_MS) return true;
    const term = await takeLease(this.#parts.db, LEASE, this.#parts.node, LEASE_MS, now);
    this.#leadsUntil = term === undefined ? 0 : now + LEASE_MS;
    return term !== undefined;
  }

  #forget(): void {
    this.#stored = undefined;
    this.#ahead = [];
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
    const entries = this.#ahead.slice(0, MOST_TOGETHER);
    const last = entries.at(-1);
    if (last === undefined) return false;
    // What was dispatched under an older number, in a log that has since been replaced, is not dispatched again.
    const fresh = entries.filter(({ epoch, offset }) => offset > (at.reached.get(epoch) ?? 0));
    const to = { ...at, offset: last.offset, proof: last.proof, reached: reachedBy(at.reached, entries) };
    const count = await this.#commit(at, to, (trx) => dispatch(trx, fresh, Date.now()));
    this.#ahead = this.#ahead.slice(entries.length);
    if (count > 0) this.#parts.onDispatched();
    return true;
  }

  async #place(): Promise<Standing> {
    this.#stored ??= await this.#find();
    return this.#stored;
  }

  async #find(): Promise<Standing> {
    const { db, history } = this.#parts;
    const row = await db.selectFrom('webhook_dispatch').selectAll().where('id', '=', ID).executeTakeFirst();
    if (row !== undefined) {
      const reached = new Map<string, number>(Object.entries(JSON.parse(row.reached)));
      return { epoch: row.epoch, offset: row.log_offset, proof: row.proof, reached };
    }
    // Before the first start nobody was subscribed: nothing that is in the log already is for anybody.
    const { end } = await history.range();
    await db
      .insertInto('webhook_dispatch')
      .values({ id: ID, epoch: end.epoch, log_offset: end.offset, proof: end.proof, reached: '{}' })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return this.#find();
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
      const moved = await trx
        .updateTable('webhook_dispatch')
        .set({
          epoch: to.epoch,
          log_offset: to.offset,
          proof: to.proof,
          reached: JSON.stringify(Object.fromEntries([...to.reached].slice(-MOST_EPOCHS))),
        })
        .where('id', '=', ID)
        .where('epoch', '=', at.epoch)
        .where('log_offset', '=', at.offset)
        .where('proof', '=', at.proof)
        .returning('id')
        .executeTakeFirst();
      if (moved === undefined) throw new Overtaken('another node has dispatched these');
      return work(trx);
    });
    this.#stored = to;
    return result;
  }
}

function reachedBy(reached: ReadonlyMap<string, number>, entries: readonly LogEntry[]): Map<string, number> {
  const all = new Map(reached);
  for (const { epoch, offset } of entries) {
    const last = all.get(epoch) ?? 0;
    // The newest epochs last: those are kept.
    all.delete(epoch);
    all.set(epoch, Math.max(last, offset));
  }
  return all;
}
