import type { Db } from '../db/database.ts';
import { raiseTerm, releaseLease, takeLease } from '../db/leases.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type EventLog, FencedOffError } from './event-log.ts';
import { OutboxPublisher } from './outbox-publisher.ts';
import { countSetAside } from './set-aside.ts';
import { WakeableSleep } from './wake.ts';
import { LogWitness } from './witness.ts';

const LEASE_NAME = 'relay';
const LEASE_MS = 3000;
/** The leader renews after a third, so that one slow renewal does not cost it the lease. */
const RENEW_MS = LEASE_MS / 3;
/** How soon the leader sees what another process committed; its own commits wake it. */
const POLL_MS = 100;

/** What waits in the outbox. */
export interface RelayLag {
  readonly rows: number;
  /** Age of the oldest waiting event in seconds; 0 when none waits. */
  readonly oldestSeconds: number;
  /** Rows that could not be published and wait for a decision; they keep nothing else waiting. */
  readonly setAside: number;
}

/**
 * Moves committed events from the outbox into the log: in order, by one leader at a time, for ever. A row is deleted
 * after Redis has its event, so a crash in between publishes again, which the event id makes harmless. A leader that was
 * paused and does not know that it has been replaced is refused by its term. The leader also keeps the witness of the log.
 */
export class Relay {
  readonly #db: Db;
  readonly #publisher: OutboxPublisher;
  readonly #witness: LogWitness;
  readonly #node: string;
  readonly #logger: Log;
  readonly #sleep = new WakeableSleep();
  #leaseEnds = 0;
  #term: number | undefined;
  #failing = false;
  #stopped = false;
  #running: Promise<void> | undefined;

  /** @param testified what the witness is compared with; a negative control hands in what sees nothing */
  constructor(db: Db, eventLog: EventLog, node: string, logger: Log, testified: Pick<EventLog, 'testify'> = eventLog) {
    this.#db = db;
    this.#witness = new LogWitness(db, testified, logger);
    this.#publisher = new OutboxPublisher(db, eventLog, logger, this.#witness);
    this.#node = node;
    this.#logger = logger;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Something was committed: look now. */
  wake(): void {
    this.#sleep.wake();
  }

  /** Finishes the batch under way and gives up the leadership. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sleep.wake();
    await this.#running;
    await this.#yieldLeadership();
  }

  /** @param now milliseconds since the epoch */
  async lag(now = Date.now()): Promise<RelayLag> {
    const { rows, oldest } = await this.#db
      .selectFrom('outbox')
      .select((select) => [select.fn.countAll<number>().as('rows'), select.fn.min('ts').as('oldest')])
      .executeTakeFirstOrThrow();
    const oldestSeconds = rows === 0 ? 0 : Math.max(0, now / 1000 - Number(oldest));
    return { rows, oldestSeconds, setAside: await countSetAside(this.#db) };
  }

  async #run(): Promise<void> {
    let backoff = POLL_MS;
    while (!this.#stopped) {
      try {
        const isLeader = await this.#relayAll();
        this.#recovered();
        backoff = POLL_MS;
        await this.#sleep.sleep(isLeader ? POLL_MS : RENEW_MS);
      } catch (error) {
        this.#failed(error);
        if (error instanceof FencedOffError) await this.#overtake(error);
        await this.#yieldLeadership();
        backoff = Math.min(backoff * 2, 2000);
        // Longer than a standby's sleep: one that does reach Redis gets its turn.
        await Bun.sleep(Math.max(backoff, RENEW_MS * 1.2));
      }
    }
  }

  /** Publishes all that waits, for as long as this node leads. @returns whether it leads */
  async #relayAll(): Promise<boolean> {
    for (;;) {
      const term = await this.#lead();
      if (term === undefined) return false;
      await this.#witness.keep(term);
      if (!(await this.#publisher.publishNext(term)) || this.#stopped) return true;
    }
  }

  /** @returns the term of this node's leadership */
  async #lead(): Promise<number | undefined> {
    const now = Date.now();
    if (this.#term !== undefined && now < this.#leaseEnds - LEASE_MS + RENEW_MS) return this.#term;
    this.#term = await takeLease(this.#db, LEASE_NAME, this.#node, LEASE_MS, now);
    this.#leaseEnds = now + LEASE_MS;
    return this.#term;
  }

  /**
   * Fenced off as a rule means replaced, and the next term is higher anyhow. Where the database knows less than Redis,
   * having been restored, its terms have to pass those that Redis knows.
   */
  async #overtake({ newest }: FencedOffError): Promise<void> {
    await raiseTerm(this.#db, LEASE_NAME, newest).catch((error) =>
      this.#logger.debug('the term of the relay could not be raised', { error: describeError(error) }),
    );
  }

  /** A leader that cannot publish must not keep others from it. */
  async #yieldLeadership(): Promise<void> {
    this.#term = undefined;
    await releaseLease(this.#db, LEASE_NAME, this.#node).catch((error) =>
      this.#logger.debug('the relay could not give its lease back; it ends by itself', { error: describeError(error) }),
    );
  }

  #failed(error: unknown): void {
    if (!this.#failing && !this.#stopped) {
      this.#logger.warn('the relay cannot publish; events wait in the outbox', { error: describeError(error) });
    }
    this.#failing = true;
  }

  #recovered(): void {
    if (this.#failing) this.#logger.info('the relay publishes again');
    this.#failing = false;
  }
}
