import type { Db, Trx } from '../../db/database.ts';
import { AppError } from '../../errors.ts';
import { lockTopology } from '../lock.ts';
import { readParts, type TopologyParts } from '../repository.ts';

/** What an edit does to the topology that it was given, in its transaction. */
export type Edit<T> = (trx: Trx, parts: TopologyParts) => Promise<T>;

/**
 * Edits a pending topology. The edit is one transaction in which nobody else can edit, deploy or delete the topology.
 * @param expectedVersion the version that the caller has seen, which the edit then raises by one; `undefined` asks for no
 *   check and leaves the version alone, as in the mutation queue (contract §5.4)
 * @throws {AppError} `not_found`; `conflict` when the topology is not pending or has another version; what the edit throws
 */
export function editTopology<T>(
  db: Db,
  topologyId: string,
  expectedVersion: number | undefined,
  edit: Edit<T>,
): Promise<T> {
  return db.transaction().execute(async (trx) => {
    await lockTopology(trx, topologyId);
    const parts = found('Topology', await readParts(trx, topologyId));
    const { status, version } = parts.topology;
    if (status !== 'pending') {
      throw new AppError('conflict', `The topology is ${status}; it is edited only while it is pending`);
    }
    if (expectedVersion !== undefined && expectedVersion !== version) {
      throw new AppError('conflict', `Version conflict: expected ${expectedVersion}, current ${version}`);
    }
    const result = await edit(trx, parts);
    if (expectedVersion === undefined) return result;
    await trx
      .updateTable('topologies')
      .set({ version: version + 1 })
      .where('id', '=', topologyId)
      .execute();
    return result;
  });
}

/** @throws {AppError} `conflict` when one of the rows, other than the one edited, has the name */
export function assertNameIsFree<T extends { readonly name: string }>(
  kind: string,
  rows: readonly T[],
  name: string,
  edited?: T,
): void {
  if (rows.some((row) => row !== edited && row.name === name)) {
    throw new AppError('conflict', `A ${kind} named '${name}' already exists in this topology`);
  }
}

/** @throws {AppError} `not_found` naming the kind of row that is not there */
export function found<T>(kind: string, row: T | undefined): T {
  if (row === undefined) throw new AppError('not_found', `${kind} not found`);
  return row;
}
