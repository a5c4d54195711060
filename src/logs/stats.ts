import { sql } from 'kysely';
import type { Db, Trx } from '../db/database.ts';
import { describeError } from '../errors.ts';
import { counterOf } from '../projection/counters.ts';
import type { Log } from '../telemetry/log.ts';
import { ATTACKERS, LINES } from './log-projection.ts';

/** Contract P1.1. A type, not an interface: it is JSON. */
export type Stats = {
  readonly total_logs: number;
  readonly unique_attackers: number;
  readonly active_deckies: number;
  readonly deployed_deckies: number;
};

/** What the landing page shows: lines and addresses are kept counted, deckies are few. */
export async function readStats(db: Db | Trx): Promise<Stats> {
  const [lines, attackers] = [await counterOf(db, LINES), await counterOf(db, ATTACKERS)];
  const fleet = await db
    .selectFrom('fleet_deckies')
    .select((eb) => eb.fn.countAll<number>().as('deckies'))
    .executeTakeFirstOrThrow();
  const inTopologies = await db
    .selectFrom('topology_deckies')
    .select((eb) => [
      eb.fn.countAll<number>().as('deckies'),
      sql<number>`coalesce(sum(case when state = 'running' then 1 else 0 end), 0)`.as('running'),
    ])
    .executeTakeFirstOrThrow();
  return {
    total_logs: lines,
    unique_attackers: attackers,
    active_deckies: fleet.deckies + Number(inTopologies.running),
    deployed_deckies: fleet.deckies + inTopologies.deckies,
  };
}

/** How old what is told may be, in milliseconds. */
const FRESH_MS = 1000;

/** The statistics for all streams of this process: read once for all of them, while there are any. */
export class StatsBoard {
  readonly #db: Db;
  readonly #logger: Log;
  #stats: Stats | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading = false;

  constructor(db: Db, logger: Log) {
    this.#db = db;
    this.#logger = logger;
  }

  /** What is known, a second old at most where somebody asks all the time; `undefined` before the first answer. */
  get current(): Stats | undefined {
    if (performance.now() - this.#readAt > FRESH_MS) void this.refresh();
    return this.#stats;
  }

  /** Somebody else has read it: what is told from here on is no older. */
  note(stats: Stats): void {
    this.#stats = stats;
    this.#readAt = performance.now();
  }

  /** Reads it anew. Never rejects: what is known stays. */
  async refresh(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    try {
      const before = this.#stats;
      const stats = await readStats(this.#db);
      // What was noted meanwhile may be newer.
      if (this.#stats === before) this.note(stats);
    } catch (error) {
      this.#logger.debug('the statistics could not be read', { error: describeError(error) });
    } finally {
      this.#reading = false;
    }
  }
}
