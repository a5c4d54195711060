import { type RawBuilder, sql } from 'kysely';
import type { Db, Engine, Trx } from '../db/database.ts';
import { relaxedTransaction } from '../db/relaxed.ts';
import { lockRow } from '../db/row-lock.ts';
import { counterOf } from './counters.ts';
import type { Keep, KeptKind } from './keep.ts';
import type { Projection } from './projection.ts';
import { type RosterName, rosterCounter } from './roster.ts';
import type { Turns } from './turns.ts';

/**
 * Rows of which the newest are kept: the oldest by the time that they tell go first, whoever wrote them last. What is left
 * therefore follows from the log and the limits alone, not from when it was looked after, and a rebuild leaves the same.
 *
 * That holds for rows that tell of one moment. What events go on changing (attackers, identities, campaigns) has a
 * {@link Roster}, which lets go of one with the very event that brings another; here is removed only what is too much because
 * the limit is lower than it was.
 */
export interface KeptRows {
  readonly kind: KeptKind;
  readonly table: 'logs' | 'attacker_commands' | 'orchestrator_events' | 'orchestrator_emails' | 'rosters';
  /** Only those rows of the table, which have no age. */
  readonly roster?: RosterName;
  /** Columns with an index: ISO time, and what tells rows of one time apart. */
  readonly order: readonly [time: string, id: string];
  /** The name of the counter that says how many there are. */
  readonly counter: string;
  /** Removes rows and takes them out of all that is counted. */
  remove(trx: Trx, ids: readonly (string | number)[]): Promise<void>;
}

/** What a roster lists. @param remove with their entries in rosters and all that is counted of them */
export function keptRoster(name: RosterName, remove: (trx: Trx, keys: readonly string[]) => Promise<void>): KeptRows {
  return {
    kind: name,
    table: 'rosters',
    roster: name,
    order: ['told', 'key'],
    counter: rosterCounter(name),
    remove: (trx, keys) => remove(trx, keys.map(String)),
  };
}

/** Milliseconds that a transaction aims at: with SQLite the whole process waits for it. */
const AIM_MS: Readonly<Record<Engine, number>> = { sqlite: 6, postgres: 50 };
/** Rows that one transaction removes. */
const ROWS = { least: 10, first: 50, most: 500 } as const;
/** Of what was left behind. */
const LEFT_ROWS = 300;
/** So often is looked while there is nothing to remove, in milliseconds. */
const EVERY_MS = 1000;

export interface RetentionParts {
  readonly db: Db;
  readonly engine: Engine;
  readonly keep: Keep;
}

/** Removes what a projection has too much of, in short transactions. */
export class Retention {
  readonly #projection: Projection;
  readonly #parts: RetentionParts;
  #count: number = ROWS.first;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #surplus = 0;

  constructor(projection: Projection, parts: RetentionParts) {
    this.#projection = projection;
    this.#parts = parts;
  }

  /**
   * Looks now and then, and removes what came in over the limits since; a surplus from before becomes smaller with each call.
   * @param turns for each transaction
   * @param isStopped ends it early
   * @returns whether there is more to remove
   */
  async run(turns: Turns, isStopped: () => boolean, now = Date.now()): Promise<boolean> {
    await this.#removeLeft(turns, isStopped);
    if ((this.#projection.kept ?? []).length === 0) return false;
    const clock = performance.now();
    if (this.#surplus === 0 && clock - this.#lookedAt < EVERY_MS) return false;
    this.#lookedAt = clock;
    const before = this.#surplus;
    this.#surplus = await turns.take(() => this.step(now));
    // Rows never become more than they were while there are too many, however fast they come.
    while (this.#surplus > before && !isStopped()) {
      this.#surplus = await turns.take(() => this.step(now));
    }
    return this.#surplus > 0;
  }

  /**
   * Removes some rows.
   * @param now milliseconds since the epoch
   * @returns how many are known to be too many still
   */
  async step(now = Date.now()): Promise<number> {
    let surplus = 0;
    for (const kept of this.#projection.kept ?? []) surplus += await this.#removeSome(kept, now);
    return surplus;
  }

  /** Removes what was left behind, before anything else is applied: nobody is to find it again. */
  async #removeLeft(turns: Turns, isStopped: () => boolean): Promise<void> {
    const { removeLeft, hasLeft } = this.#projection;
    if (removeLeft === undefined || hasLeft === undefined) return;
    const { db, engine } = this.#parts;
    let isMore = await hasLeft(db);
    while (isMore && !isStopped()) {
      isMore = await turns.take(() =>
        relaxedTransaction(db, engine, async (trx) => (await this.#isIts(trx)) && (await removeLeft(trx, LEFT_ROWS))),
      );
    }
  }

  /** Locks the projection, as a leader and a rebuild do first: one of them at a time changes what is counted. */
  async #isIts(trx: Trx): Promise<boolean> {
    const standing = await lockRow(trx, 'projections', { name: this.#projection.name });
    return standing?.version === this.#projection.version && standing.clearing === 0;
  }

  async #removeSome(kept: KeptRows, now: number): Promise<number> {
    const { db, engine, keep } = this.#parts;
    const cutoff = keep.maxAgeMs > 0 && kept.roster === undefined ? new Date(now - keep.maxAgeMs).toISOString() : '';
    if ((await this.#surplusOf(db, kept)) <= 0 && !(await hasOlder(db, kept, cutoff))) return 0;
    const began = performance.now();
    const most = this.#count;
    const { removed, surplus } = await relaxedTransaction(db, engine, async (trx) => {
      if (!(await this.#isIts(trx))) return { removed: 0, surplus: 0 };
      const surplus = await this.#surplusOf(trx, kept);
      const oldest = await oldestOf(trx, kept, most);
      const isOld = (time: string) => cutoff !== '' && time < cutoff;
      const ids = oldest.flatMap(({ id, time }, index) => (index < surplus || isOld(time) ? [id] : []));
      if (ids.length > 0) await kept.remove(trx, ids);
      return { removed: ids.length, surplus: surplus - ids.length };
    });
    const took = Math.max(performance.now() - began, 0.1);
    if (removed >= most || took > AIM_MS[engine]) {
      const fitting = Math.floor((most * AIM_MS[engine]) / took);
      this.#count = Math.min(ROWS.most, Math.max(ROWS.least, fitting), most * 2);
    }
    // Nobody knows how many are too old; a transaction that was full says that there may be more.
    return Math.max(surplus, removed >= most ? 1 : 0, 0);
  }

  async #surplusOf(db: Db | Trx, { counter, kind }: KeptRows): Promise<number> {
    return (await counterOf(db, counter)) - this.#parts.keep.rows[kind];
  }
}

async function hasOlder(db: Db, kept: KeptRows, cutoff: string): Promise<boolean> {
  if (cutoff === '') return false;
  const [oldest] = await oldestOf(db, kept, 1);
  return oldest !== undefined && oldest.time < cutoff;
}

async function oldestOf(db: Db | Trx, { table, roster, order: [time, id] }: KeptRows, most: number) {
  const columns: RawBuilder<unknown>[] = [sql`${sql.ref(time)} as time`, sql`${sql.ref(id)} as id`];
  const { rows } = await sql<{ time: string; id: string | number }>`select ${sql.join(columns)} from ${sql.table(table)}
    where ${roster === undefined ? sql`1 = 1` : sql`roster = ${roster}`} order by ${sql.ref(time)}, ${sql.ref(id)} limit ${most}`.execute(
    db,
  );
  return rows;
}
