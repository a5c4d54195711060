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
      return { epoch: row.epoch, offset: row.log_offset, proof: row.proof, reached: readReached(row.reached) };
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
 * Keeps the dispatcher, on whatever node, from writing deliveries until the transaction is over. To be called first.
 */
export async function lockStanding(trx: Trx): Promise<void> {
  await trx.updateTable('webhook_dispatch').set({ id: ID }).where('id', '=', ID).execute();
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
      reached: reachedText(to),
    })
    .where('id', '=', ID)
    .where('epoch', '=', at.epoch)
    .where('log_offset', '=', at.offset)
    .where('proof', '=', at.proof)
    .returning('id')
    .executeTakeFirst();
  return moved !== undefined;
}

/** As it is stored: the newest epochs. */
export function reachedText({ reached }: Pick<Standing, 'reached'>): string {
  return JSON.stringify(Object.fromEntries([...reached].slice(-MOST_EPOCHS)));
}

export function readReached(text: string): Map<string, number> {
  return new Map<string, number>(Object.entries(JSON.parse(text)));
}

/** Where one stands after some entries; the epochs met last come last, since those are kept. */
export function after<Entry extends LogPlace>(at: Standing, entries: readonly Entry[]): Standing {
  const last = entries.at(-1);
  if (last === undefined) return at;
  const reached = new Map(at.reached);
  for (const { epoch, offset } of entries) {
    const before = reached.get(epoch) ?? 0;
    reached.delete(epoch);
    reached.set(epoch, Math.max(before, offset));
  }
  return { ...at, offset: last.offset, proof: last.proof, reached };
}

/** Those that were not dispatched under an older number, in a log that has since been replaced. */
export function notReached<Entry extends LogPlace>({ reached }: Standing, entries: readonly Entry[]): Entry[] {
  return entries.filter(({ epoch, offset }) => offset > (reached.get(epoch) ?? 0));
}

/** Whether two stand at the same place of the log. */
export function isAt(one: LogPlace, other: LogPlace): boolean {
  return one.epoch === other.epoch && one.offset === other.offset && one.proof === other.proof;
}
