import type { Db, Trx } from '../db/database.ts';

/** Several nodes may meet different epochs at once; each try that fails has let another one succeed. */
const MAX_TRIES = 20;

/**
 * The number of an epoch in the order in which epochs were met: 1, 2, 3 … It is given once and stays, so that everybody
 * works out the same ids for what was published in it.
 */
export async function epochOrdinal(db: Db | Trx, epoch: string): Promise<number> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const known = await db.selectFrom('log_epochs').select('ordinal').where('epoch', '=', epoch).executeTakeFirst();
    if (known !== undefined) return known.ordinal;
    const { newest } = await db
      .selectFrom('log_epochs')
      .select((eb) => eb.fn.max('ordinal').as('newest'))
      .executeTakeFirstOrThrow();
    await db
      .insertInto('log_epochs')
      .values({ epoch, ordinal: (newest ?? 0) + 1 })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
  throw new Error('an epoch could not be numbered');
}

/** Keeps the numbers of epochs at hand, for those who cannot wait for the database. */
export class EpochOrdinals {
  readonly #db: Db;
  readonly #known = new Map<string, number>();

  constructor(db: Db) {
    this.#db = db;
  }

  /** Asks the database once, also for those before: a log holds events of several epochs. */
  async load(epoch: string): Promise<void> {
    if (this.#known.has(epoch)) return;
    const ordinal = await epochOrdinal(this.#db, epoch);
    for (const row of await this.#db.selectFrom('log_epochs').selectAll().execute())
      this.#known.set(row.epoch, row.ordinal);
    this.#known.set(epoch, ordinal);
  }

  /** 0 for an epoch that was not loaded. */
  of(epoch: string): number {
    return this.#known.get(epoch) ?? 0;
  }
}
