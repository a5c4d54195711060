import type { Trx } from '../db/database.ts';
import { lockRow } from '../db/row-lock.ts';
import type { TopologyRow } from '../db/schema.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';

/**
 * Takes the topology's row until the transaction ends: what is read after it cannot change under the reader.
 * @throws {AppError} `not_found`
 */
export async function lockTopology(trx: Trx, id: string): Promise<TopologyRow> {
  const row = isStorable(id) ? await lockRow(trx, 'topologies', { id }) : undefined;
  if (row === undefined) throw new AppError('not_found', 'Topology not found');
  return row;
}
