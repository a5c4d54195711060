import type { EventLog } from '../bus/event-log.ts';
import { LogHistory } from '../bus/log-history.ts';
import type { TailListener } from '../bus/tail.ts';
import { WakeableSleep } from '../bus/wake.ts';
import type { Db } from '../db/database.ts';
import { releaseLease, takeLease } from '../db/leases.ts';
import type { ProjectionRow } from '../db/schema.ts';
import { describeError } from '../errors.ts';
import type { Keep } from './keep.ts';
import type { Projection } from './projection.ts';
import { Retention } from './retention.ts';
import { Runner, type RunnerParts } from './runner.ts';
import { Turns } from './turns.ts';

export interface ProjectionsParts extends Omit<RunnerParts, 'history'> {
  /** A connection for large answers. */
  readonly redis: ConstructorParameters<typeof LogHistory>[0];
  /** This process. */
  readonly node: string;
  readonly projections: readonly Projection[];
  readonly keep: Keep;
}

interface Followed {
  readonly runner: Runner;
  readonly retention: Retention;
  readonly sleep: WakeableSleep;
}

const LEASE_NAME = 'projections';
const LEASE_MS = 5000;
const RENEW_MS = LEASE_MS / 3;
/** How soon is seen what nobody told of. */
const POLL_MS = 1000;
/** Rows may be so much later than their events: a transaction costs the same for one event as for many. */
const GATHER_MS = 50;
const RETRY_MS = { first: 100, most: 5000 } as const;

/**
 * Keeps the rows of all projections up with the log: on one node at a time, which is only for peace, because each commit
 * asks whether the projection still stands where it was found.
 */
export class Projections {
  readonly #parts: ProjectionsParts;
  readonly #history: LogHistory;
  readonly #runners: readonly Followed[];
  readonly #stopping = Promise.withResolvers<void>();
  readonly #turns: Turns;
  #stopped = false;
  #term: number | undefined;
  #leadsUntil = 0;
  #leading: Promise<boolean> | undefined;
  #running: Promise<unknown> | undefined;

  constructor(parts: ProjectionsParts) {
    this.#parts = parts;
    this.#turns = new Turns(parts.engine, parts.servesNobody);
    this.#history = new LogHistory(parts.redis, () => this.wake());
    this.#runners = parts.projections.map((projection) => ({
      runner: new Runner(projection, { ...parts, history: this.#history }),
      retention: new Retention(projection, parts),
      sleep: new WakeableSleep(),
    }));
  }

  /** For the tail: hears that there is more, and what. */
  get listener(): TailListener {
    return this.#history;
  }

  start(): void {
    this.#running ??= Promise.all(this.#runners.map((followed) => this.#run(followed)));
  }

  /** There is something new in the log. */
  wake(): void {
    for (const { sleep } of this.#runners) sleep.wake();
  }

  /** Ends after the transactions under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopping.resolve();
    this.wake();
    await this.#running;
    await releaseLease(this.#parts.db, LEASE_NAME, this.#parts.node).catch((error) =>
      this.#parts.logger.debug('the lease of the projections ends by itself', { error: describeError(error) }),
    );
  }

  async #run({ runner, retention, sleep }: Followed): Promise<void> {
    let delay: number = RETRY_MS.first;
    let isFailing = false;
    while (!this.#stopped) {
      try {
        const isLeader = await this.#lead();
        if (!isLeader) runner.forget();
        const isBehind = isLeader && (await this.#turns.take(() => runner.step()));
        const isOver = isLeader && (await retention.run(this.#turns, () => this.#stopped));
        const isMore = isBehind || isOver;
        if (isFailing) this.#parts.logger.info('a projection goes on', { projection: runner.projection.name });
        isFailing = false;
        delay = RETRY_MS.first;
        if (!isMore) {
          await sleep.sleep(POLL_MS);
          // What comes together is written together.
          if (!this.#stopped) await Bun.sleep(GATHER_MS);
        }
      } catch (error) {
        if (!isFailing && !this.#stopped) {
          const failed = { projection: runner.projection.name, error: describeError(error) };
          this.#parts.logger.warn('a projection cannot go on; trying again', failed);
        }
        isFailing = true;
        await Promise.race([Bun.sleep(delay), this.#stopping.promise]);
        delay = Math.min(delay * 2, RETRY_MS.most);
      }
    }
  }

  /** Asked by all runners; one of them asks the database. */
  async #lead(): Promise<boolean> {
    if (this.#term !== undefined && Date.now() < this.#leadsUntil - LEASE_MS + RENEW_MS) return true;
    this.#leading ??= this.#takeLease().finally(() => {
      this.#leading = undefined;
    });
    return this.#leading;
  }

  async #takeLease(): Promise<boolean> {
    const now = Date.now();
    this.#term = await takeLease(this.#parts.db, LEASE_NAME, this.#parts.node, LEASE_MS, now);
    this.#leadsUntil = now + LEASE_MS;
    return this.#term !== undefined;
  }
}

/** How far a projection is behind the log. */
export interface ProjectionLag {
  readonly name: string;
  /** Events of the log that it has not looked at. */
  readonly events: number;
  /** Seconds since the newest event that it has looked at, while there are others. */
  readonly seconds: number;
  readonly counted: number;
  readonly skipped: number;
  readonly set_aside: number;
  readonly gaps: number;
  readonly last_gap: unknown;
  /**
   * `current`; `behind`; `other version`: its rows are those of another version and have to be rebuilt; `clearing`: its rows are
   * being removed, to be made again.
   */
  readonly state: 'current' | 'behind' | 'other version' | 'clearing';
}

/** @param now milliseconds since the epoch */
export async function lagOf(
  db: Db,
  eventLog: Pick<EventLog, 'position'>,
  projections: readonly Projection[],
  now = Date.now(),
): Promise<ProjectionLag[]> {
  // The rows first: what is published in between makes the lag no smaller than it is.
  const rows = await db.selectFrom('projections').selectAll().execute();
  const { epoch, offset } = await eventLog.position('log');
  return projections.map((projection) =>
    lagOfRow(
      projection,
      rows.find(({ name }) => name === projection.name),
      { epoch, offset },
      now,
    ),
  );
}

function lagOfRow(
  { name, version }: Projection,
  row: ProjectionRow | undefined,
  head: { epoch: string; offset: number },
  now: number,
): ProjectionLag {
  const events = row?.epoch === head.epoch ? Math.max(0, head.offset - row.log_offset) : head.offset;
  const since = row?.event_ts ?? undefined;
  const reached = events === 0 ? 'current' : 'behind';
  return {
    name,
    events,
    seconds: events === 0 || since === undefined ? 0 : Math.max(0, Math.round(now / 100 - since * 10) / 10),
    counted: row?.counted ?? 0,
    skipped: row?.skipped ?? 0,
    set_aside: row?.set_aside ?? 0,
    gaps: row?.gaps ?? 0,
    last_gap: row?.last_gap ? JSON.parse(row.last_gap) : null,
    state: row === undefined ? reached : stateOf(row, version, reached),
  };
}

function stateOf(row: ProjectionRow, version: number, reached: 'current' | 'behind'): ProjectionLag['state'] {
  if (row.version !== version) return 'other version';
  return row.clearing === 0 ? reached : 'clearing';
}
