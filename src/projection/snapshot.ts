import { LOG_CHANNEL } from '../bus/channel.ts';
import type { Db, Trx } from '../db/database.ts';
import { readConsistently } from '../db/database.ts';
import { AppError } from '../errors.ts';
import type { ContainedPlace, Snapshot } from '../stream/snapshot.ts';

/**
 * A snapshot of a projection's rows, with the place in a channel up to which they contain its events: what comes after it
 * follows on the stream. A projection is behind the log; the place of the log would leave out what lies between (design,
 * invariant 5).
 * @param read must ask nothing but the transaction
 * @throws {AppError} `unavailable` while the rows are ahead of the place: the log was replaced and is being read again, or the
 *   rows are being removed
 */
export function projectedSnapshot(
  db: Db,
  projection: string,
  channel: string,
  read: (trx: Trx) => Promise<Snapshot['data']>,
): Promise<Snapshot> {
  return readConsistently(db, async (trx) => {
    const contains = await containedPlace(trx, projection, channel);
    return { revision: 0, data: await read(trx), contains };
  });
}

/**
 * Up to where rows of a projection contain a channel's events.
 * @returns `undefined` where nobody has ever projected: what rows there are came in another way
 * @throws {AppError} `unavailable` while the rows are ahead of the place
 */
export async function knownPlace(trx: Trx, projection: string, channel: string): Promise<ContainedPlace | undefined> {
  const place = await containedPlace(trx, projection, channel);
  return place.epoch === '' ? undefined : place;
}

async function containedPlace(trx: Trx, projection: string, channel: string): Promise<ContainedPlace> {
  const row = await trx
    .selectFrom('projections')
    .select(['epoch', 'log_offset', 'proof', 'aligned_until', 'clearing'])
    .where('name', '=', projection)
    .executeTakeFirst();
  if (row?.clearing) {
    throw new AppError('unavailable', 'What is shown here is being emptied; try again shortly');
  }
  if (row !== undefined && row.log_offset < row.aligned_until) {
    throw new AppError('unavailable', 'The event log was replaced and is being read again; try again shortly');
  }
  const [epoch, logOffset] = [row?.epoch ?? '', row?.log_offset ?? 0];
  if (row !== undefined && channel === LOG_CHANNEL) return { epoch, offset: logOffset, proof: row.proof, logOffset };
  const place = await trx
    .selectFrom('projection_places')
    .select(['channel_offset', 'proof'])
    .where('projection', '=', projection)
    .where('channel', '=', channel)
    .executeTakeFirst();
  return { epoch, offset: place?.channel_offset ?? 0, proof: place?.proof ?? '', logOffset };
}
