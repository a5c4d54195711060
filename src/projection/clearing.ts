import type { Db, Engine } from '../db/database.ts';
import { relaxedTransaction } from '../db/relaxed.ts';
import { lockRow } from '../db/row-lock.ts';
import { endClearing, removeBookkeeping } from './places.ts';
import type { Projection } from './projection.ts';

/** Milliseconds that a transaction aims at: with SQLite the whole process waits for it, and whoever else writes. */
const AIM_MS: Readonly<Record<Engine, number>> = { sqlite: 6, postgres: 100 };
/** Rows that one transaction removes. */
const ROWS = { least: 20, first: 100, most: 10_000 } as const;

/**
 * Removes the rows of a projection that is marked as being cleared, in short transactions. Several may do so at once, and
 * whoever dies leaves the mark: the next one goes on.
 */
export class Clearing {
  readonly #projection: Projection;
  readonly #db: Db;
  readonly #engine: Engine;
  #count: number = ROWS.first;

  constructor(projection: Projection, db: Db, engine: Engine) {
    this.#projection = projection;
    this.#db = db;
    this.#engine = engine;
  }

  /**
   * Removes some rows; with the last of them goes the mark.
   * @returns whether it is being cleared still
   */
  async step(): Promise<boolean> {
    const began = performance.now();
    const most = this.#count;
    const isMore = await relaxedTransaction(this.#db, this.#engine, async (trx) => {
      const standing = await lockRow(trx, 'projections', { name: this.#projection.name });
      if (!standing?.clearing || standing.version !== this.#projection.version) return false;
      if (await this.#projection.clear(trx, most)) return true;
      // After a purge it goes on from its place, and has to know what it has counted before.
      if (standing.clearing === 1 && (await removeBookkeeping(trx, this.#projection.name, most))) return true;
      await endClearing(trx, this.#projection);
      return false;
    });
    const fitting = Math.floor((most * AIM_MS[this.#engine]) / Math.max(performance.now() - began, 0.1));
    this.#count = Math.min(ROWS.most, Math.max(ROWS.least, fitting), most * 2);
    return isMore;
  }
}
