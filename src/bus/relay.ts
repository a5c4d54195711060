import type { Db } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Event, JsonObject } from './event.ts';
import type { EventLog, Publication } from './event-log.ts';
import { WakeableSleep } from './wake.ts';

const LEASE_NAME = 'relay';
const LEASE_MS = 3000;
/** The leader renews after a third, so that one slow renewal does not cost it the lease. */
const RENEW_MS = LEASE_MS / 3;
/** How soon the leader sees what another process committed; its own commits wake it. */
const POLL_MS = 100;
const BATCH = 200;
/** From publishing to the deletion of the row a crash may come between; the id is remembered until then (a week). */
const REMEMBER_MS = 7 * 24 * 3_600_000;

/** What waits in the outbox. */
export interface RelayLag {
  readonly rows: number;
  /** Age of the oldest waiting event in seconds; 0 when none waits. */
  readonly oldestSeconds: number;
}

/**
 * Moves committed events from the outbox into the log: in order, by one leader at a time, for ever. A row is deleted
 * after Redis has its event, so a crash in between publishes again, which the event id makes harmless. The same holds
 * for a leader that was paused and does not know that it has been replaced.
 */
export class Relay {
  readonly #db: Db;
  readonly #log: EventLog;
  readonly #node: string;
  readonly #logger: Log;
  readonly #nap = new WakeableSleep();
  #leaseEnds = 0;
  #failing = false;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(db: Db, log: EventLog, node: string, logger: Log) {
    this.#db = db;
    this.#log = log;
    this.#node = node;
    this.#logger = logger;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Something was committed: look now. */
  wake(): void {
    this.#nap.wake();
  }

  /** Finishes the batch under way and gives up the leadership. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#nap.wake();
    await this.#running;
    await this.#yieldLeadership();
  }

  /** @param now milliseconds since the epoch */
  async lag(now = Date.now()): Promise<RelayLag> {
    const { rows, oldest } = await this.#db
      .selectFrom('outbox')
      .select((select) => [select.fn.countAll<number>().as('rows'), select.fn.min('ts').as('oldest')])
      .executeTakeFirstOrThrow();
    return { rows, oldestSeconds: rows === 0 ? 0 : Math.max(0, now / 1000 - Number(oldest)) };
  }

  async #run(): Promise<void> {
    let backoff = POLL_MS;
    while (!this.#stopped) {
      try {
        const isLeader = await this.#lead();
        while (isLeader && (await this.#relayBatch()) && !this.#stopped) await this.#lead();
        this.#recovered();
        backoff = POLL_MS;
        await this.#nap.sleep(isLeader ? POLL_MS : RENEW_MS);
      } catch (error) {
        this.#failed(error);
        await this.#yieldLeadership();
        backoff = Math.min(backoff * 2, 2000);
        // Longer than a standby's nap: one that does reach Redis gets its turn.
        await Bun.sleep(Math.max(backoff, RENEW_MS * 1.2));
      }
    }
  }

  async #lead(): Promise<boolean> {
    const now = Date.now();
    if (now < this.#leaseEnds - LEASE_MS + RENEW_MS) return true;
    const isLeader = await takeLease(this.#db, LEASE_NAME, this.#node, LEASE_MS, now);
    this.#leaseEnds = isLeader ? now + LEASE_MS : 0;
    return isLeader;
  }

  /** A leader that cannot publish must not keep others from it. */
  async #yieldLeadership(): Promise<void> {
    this.#leaseEnds = 0;
    await releaseLease(this.#db, LEASE_NAME, this.#node).catch((error) =>
      this.#logger.debug('the relay could not give its lease back; it ends by itself', { error: describeError(error) }),
    );
  }

  /** @returns true when there may be more */
  async #relayBatch(): Promise<boolean> {
    const rows = await this.#db.selectFrom('outbox').selectAll().orderBy('seq').limit(BATCH).execute();
    if (rows.length === 0) return false;
    const publications = rows.map(
      (row): Publication => ({
        event: toEvent(row.event_id, row.topic, row.type, row.ts, row.payload),
        revisions: JSON.parse(row.revisions),
        rememberMs: REMEMBER_MS,
      }),
    );
    await this.#log.publish(publications);
    await this.#db
      .deleteFrom('outbox')
      .where(
        'seq',
        'in',
        rows.map((row) => row.seq),
      )
      .execute();
    await this.#log.acknowledge(rows.map((row) => row.event_id));
    return rows.length === BATCH;
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

function toEvent(id: string, topic: string, type: string, ts: number, payload: string): Event {
  const parsed: JsonObject = JSON.parse(payload);
  return { v: 1, id, topic, type, ts, payload: parsed };
}
