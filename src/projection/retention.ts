import { type RawBuilder, sql } from 'kysely';
import type { Db, Engine, Trx } from '../db/database.ts';
import { relaxedTransaction } from '../db/relaxed.ts';
import { lockRow } from '../db/row-lock.ts';
import type { Projection } from './projection.ts';
import type { Turns } from './turns.ts';

/** What is kept of read models that grow with the log. */
export interface Keep {
  /** Rows of each kind. */
  readonly rows: Readonly<Record<KeptKind, number>>;
  /** Age at which rows of all kinds go, in milliseconds; 0: as long as there are not too many. */
  readonly maxAgeMs: number;
}

export type KeptKind = 'lines' | 'commands' | 'actions' | 'emails';

/**
 * Rows of which the newest are kept: the oldest by the time that they tell go first, whoever wrote them last. What is left
 * therefore follows from the log and the limits alone, not from when it was looked after, and a rebuild leaves the same.
 */
export interface KeptRows {
  readonly kind: KeptKind;
  readonly table: 'logs' | 'attacker_commands' | 'orchestrator_events' | 'orchestrator_emails';
  /** Columns with an index: ISO time, and what tells rows of one time apart. */
  readonly order: readonly [time: string, id: string];
  /** The name of the counter that says how many there are. */
  readonly counter: string;
  /** Removes rows and takes them out of all that is counted. */
  remove(trx: Trx, ids: readonly (string | number)[]): Promise<void>;
}

/** Milliseconds that a transaction aims at: with SQLite the whole process waits for it. */
const AIM_MS: Readonly<Record<Engine, number>> = { sqlite: 6, postgres: 50 };
/** Rows that one transaction removes. */
const ROWS = { least: 10, first: 50, most: 500 } as const;
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

  async #removeSome(kept: KeptRows, now: number): Promise<number> {
    const { db, engine, keep } = this.#parts;
    const cutoff = keep.maxAgeMs > 0 ? new Date(now - keep.maxAgeMs).toISOString() : '';
    if ((await this.#surplusOf(db, kept)) <= 0 && !(await hasOlder(db, kept, cutoff))) return 0;
    const began = performance.now();
    const most = this.#count;
    const { removed, surplus } = await relaxedTransaction(db, engine, async (trx) => {
      // As a leader and a rebuild do first: one of them at a time changes what is counted.
      const standing = await lockRow(trx, 'projections', { name: this.#projection.name });
      if (standing?.version !== this.#projection.version) return { removed: 0, surplus: 0 };
      const surplus = await this.#surplusOf(trx, kept);
      const oldest = await oldestOf(trx, kept, most);
      const ids = oldest.flatMap(({ id, time }, index) => (index < surplus || time < cutoff ? [id] : []));
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
    const row = await db.selectFrom('counters').select('value').where('name', '=', counter).executeTakeFirst();
    return (row?.value ?? 0) - this.#parts.keep.rows[kind];
  }
}

async function hasOlder(db: Db, kept: KeptRows, cutoff: string): Promise<boolean> {
  if (cutoff === '') return false;
  const [oldest] = await oldestOf(db, kept, 1);
  return oldest !== undefined && oldest.time < cutoff;
}

async function oldestOf(db: Db | Trx, { table, order: [time, id] }: KeptRows, most: number) {
  const columns: RawBuilder<unknown>[] = [sql`${sql.ref(time)} as time`, sql`${sql.ref(id)} as id`];
  const { rows } = await sql<{ time: string; id: string | number }>`select ${sql.join(columns)} from ${sql.table(table)}
    order by ${sql.ref(time)}, ${sql.ref(id)} limit ${most}`.execute(db);
  return rows;
}
