import type { LogHistory, LogPlace } from '../bus/log-history.ts';
import type { Db, Trx } from '../db/database.ts';

/** Where the dispatcher stands: a place of the log, and how far it came in each epoch that it knows. */
export interface Standing extends LogPlace {
  readonly reached: ReadonlyMap<string, number>;
}

/** The only row. */
const ID = 1;
/** Epochs that are remembered: each time the log is lost it gets another. */
const MOST_EPOCHS = 20;

/**
 * Where the dispatcher stands, as the database says. It stands at the end of the log from before the first subscription is
 * made: whoever subscribes gets what is published from then on, whenever a dispatcher begins to run.
 */
export async function findStanding(db: Db, history: Pick<LogHistory, 'range'>): Promise<Standing> {
  for (;;) {
    const row = await db.selectFrom('webhook_dispatch').selectAll().where('id', '=', ID).executeTakeFirst();
    if (row !== undefined) {
      const reached = new Map<string, number>(Object.entries(JSON.parse(row.reached)));
      return { epoch: row.epoch, offset: row.log_offset, proof: row.proof, reached };
    }
    const { end } = await history.range();
    await db
      .insertInto('webhook_dispatch')
      .values({ id: ID, epoch: end.epoch, log_offset: end.offset, proof: end.proof, reached: '{}' })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

/**
 * Moves on, if it still stands where it was found. Whoever moves next waits until this transaction is over.
 * @returns whether it did
 */
export async function moveStanding(trx: Trx, at: Standing, to: Standing): Promise<boolean> {
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
  return moved !== undefined;
}
