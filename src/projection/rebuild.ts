import type { LogHistory } from '../bus/log-history.ts';
import { type Db, engineIn } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { Clearing } from './clearing.ts';
import { beginClearing } from './places.ts';
import type { Projection } from './projection.ts';

/** What a rebuild begins with. */
export interface RebuildStart {
  readonly name: string;
  /** Events of the log's past that it does not keep any more: their rows are gone after the rebuild. */
  readonly trimmed: number;
}

export interface RebuildOptions {
  /** Goes on although history is gone; default false. */
  readonly acceptLoss?: boolean;
  /** Called after each transaction that removed rows. */
  readonly onStep?: () => void;
}

/**
 * Empties a projection, so that whoever leads fills it from the beginning of the log. Where the log does not begin with
 * its first event any more, rows would be lost that nothing can bring back: that has to be asked for.
 *
 * First it is marked, which stops everybody who writes it and who opens streams with it; then its rows go in short
 * transactions, and the mark with the last of them. Should this process die meanwhile, whoever leads goes on, and so does
 * another call.
 * @throws {AppError} `not_found` for a name that no projection has; `conflict` when history is gone
 */
export async function rebuild(
  db: Db,
  history: Pick<LogHistory, 'range'>,
  projections: readonly Projection[],
  name: string,
  { acceptLoss = false, onStep }: RebuildOptions = {},
): Promise<RebuildStart> {
  const projection = projections.find((one) => one.name === name);
  if (projection === undefined) {
    const names = projections.map((one) => one.name).join(', ');
    throw new AppError('not_found', `There is no projection '${name}'; there are: ${names}`);
  }
  const { begin } = await history.range();
  const earlier = await db
    .selectFrom('projection_epochs')
    .select('epoch')
    .where('projection', '=', name)
    .where('epoch', '!=', begin.epoch)
    .executeTakeFirst();
  if ((begin.offset > 0 || earlier !== undefined) && !acceptLoss) {
    const why = earlier === undefined ? `dropped its first ${begin.offset} events` : 'been replaced since';
    throw new AppError('conflict', `The log has ${why}; what they told would be lost. Ask for it if you mean it`);
  }
  // Locked: a leader that commits now is told to begin again.
  await db.transaction().execute((trx) => beginClearing(trx, projection));
  const clearing = new Clearing(projection, db, engineIn(db));
  for (let began = performance.now(); await clearing.step(); began = performance.now()) {
    onStep?.();
    // Others write into the same file: they get as much of the time.
    await Bun.sleep(performance.now() - began);
  }
  return { name, trimmed: begin.offset };
}
