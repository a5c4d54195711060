import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import { isOneOf } from '../db/one-of.ts';
import type { RowsToRemove } from '../db/remove-some.ts';
import { addToCounters, counterOf } from './counters.ts';

/** What rosters there are; each has a limit in `Keep` of its own. */
export type RosterName =
  | 'attackers'
  | 'attacker_uuids'
  | 'attributed'
  | 'identities'
  | 'linked'
  | 'campaigns'
  | 'members';

const ROSTERS = { table: 'rosters', columns: { roster: 'text', key: 'text', told: 'bigint' } } as const;
const LATER = sql`on conflict (roster, key) do update set told = excluded.told`;
/** Keys of one statement. */
const CHUNK = 500;
/** Candidates that are read at once. */
const CANDIDATES = 100;

/** Its rows, for those who remove all of them. */
export const rosterRows = (name: RosterName): RowsToRemove => ({
  table: 'rosters',
  key: ['roster', 'key'],
  only: sql`roster = ${name}`,
});

/** The counter that says how many there are. */
export const rosterCounter = (name: RosterName) => `roster:${name}`;

/**
 * Keeps rows that events go on changing within a limit: for each that is new the one goes that was told of longest ago. That
 * happens with the very event that brings the new one, not when somebody looks after it, and the order is that of the log: so
 * what is left follows from the log and the limit alone, and a rebuild leaves the same.
 *
 * One for each transaction; what it has been told is written by {@link save}.
 */
export class Roster {
  readonly #trx: Trx;
  readonly #engine: Engine;
  readonly #name: RosterName;
  readonly #most: number;
  #size: number | undefined;
  #before = 0;
  /** Key → whether it is enrolled. */
  readonly #known = new Map<string, boolean>();
  /** Told of in this transaction, the last one last. */
  readonly #told = new Set<string>();
  readonly #gone = new Set<string>();
  /** Told of longest ago, as the database has it. */
  #candidates: { told: number; key: string }[] = [];
  #reached = Number.MIN_SAFE_INTEGER;
  #isExhausted = false;

  constructor(trx: Trx, engine: Engine, name: RosterName, most: number) {
    this.#trx = trx;
    this.#engine = engine;
    this.#name = name;
    this.#most = most;
  }

  /**
   * Notes what an event tells of.
   * @param keys the one told last, last; no more than the limit
   * @returns the keys that are none any more: their rows have to go, too. Not one of those that were told of
   */
  async tell(keys: readonly string[]): Promise<string[]> {
    await this.load(keys);
    let room = 0;
    for (const key of keys) {
      if (this.#known.get(key) !== true) room += 1;
      this.#known.set(key, true);
      this.#told.delete(key);
      this.#told.add(key);
    }
    if (room === 0) return [];
    this.#size = (await this.#sizeBefore()) + room;
    const evicted: string[] = [];
    // No more than came in: where the limit was higher before, the rest is removed bit by bit.
    while (this.#size > this.#most && evicted.length < room) {
      const oldest = await this.#oldest(keys);
      if (oldest === undefined) break;
      this.#remove(oldest);
      evicted.push(oldest);
    }
    return evicted;
  }

  /** Takes keys out whose rows went for another reason. */
  async strike(keys: readonly string[]): Promise<void> {
    await this.load(keys);
    await this.#sizeBefore();
    for (const key of keys) if (this.#known.get(key) === true) this.#remove(key);
  }

  /** Writes it down. */
  async save(): Promise<void> {
    const gone = [...this.#gone].filter((key) => !this.#told.has(key));
    for (let first = 0; first < gone.length; first += CHUNK) {
      await this.#trx
        .deleteFrom('rosters')
        .where('roster', '=', this.#name)
        .where('key', 'in', gone.slice(first, first + CHUNK))
        .execute();
    }
    if (this.#size !== undefined) {
      await addToCounters(this.#trx, { [rosterCounter(this.#name)]: this.#size - this.#before });
    }
    if (this.#told.size === 0) return;
    const { newest } = await this.#trx
      .selectFrom('rosters')
      .select((eb) => eb.fn.max('told').as('newest'))
      .where('roster', '=', this.#name)
      .executeTakeFirstOrThrow();
    const rows = [...this.#told].map((key, index) => ({
      roster: this.#name,
      key,
      told: (newest ?? 0) + index + 1,
    }));
    await insertRows(this.#trx, this.#engine, ROSTERS, rows, LATER);
  }

  async #sizeBefore(): Promise<number> {
    if (this.#size !== undefined) return this.#size;
    this.#before = await counterOf(this.#trx, rosterCounter(this.#name));
    this.#size = this.#before;
    return this.#size;
  }

  /** Reads at once what will be told of one by one. */
  async load(keys: readonly string[]): Promise<void> {
    const unknown = [...new Set(keys)].filter((key) => !this.#known.has(key));
    if (unknown.length === 0) return;
    const rows = await this.#trx
      .selectFrom('rosters')
      .select('key')
      .where('roster', '=', this.#name)
      .where(isOneOf(this.#engine, 'key', unknown))
      .execute();
    for (const key of unknown) this.#known.set(key, false);
    for (const { key } of rows) this.#known.set(key, true);
  }

  #remove(key: string): void {
    this.#known.set(key, false);
    this.#told.delete(key);
    this.#gone.add(key);
    this.#size = (this.#size ?? 0) - 1;
  }

  /** Whatever was told of in this transaction is newer than what was not. */
  async #oldest(butNot: readonly string[]): Promise<string | undefined> {
    for (;;) {
      if (this.#candidates.length === 0 && !this.#isExhausted) await this.#readCandidates();
      const candidate = this.#candidates.shift();
      if (candidate === undefined) break;
      if (!this.#told.has(candidate.key) && !this.#gone.has(candidate.key)) return candidate.key;
    }
    for (const key of this.#told) if (!butNot.includes(key)) return key;
    return undefined;
  }

  async #readCandidates(): Promise<void> {
    this.#candidates = await this.#trx
      .selectFrom('rosters')
      .select(['told', 'key'])
      .where('roster', '=', this.#name)
      .where('told', '>', this.#reached)
      .orderBy('told')
      .limit(CANDIDATES)
      .execute();
    this.#reached = this.#candidates.at(-1)?.told ?? this.#reached;
    this.#isExhausted = this.#candidates.length < CANDIDATES;
  }
}

/** Takes keys out of a roster for good. */
export async function strike(roster: Roster, keys: readonly string[]): Promise<void> {
  await roster.strike(keys);
  await roster.save();
}
