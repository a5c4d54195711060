import { type Db, readConsistently, type Trx } from '../db/database.ts';
import type { DeckyRow, EdgeRow, LanRow, MutationRow, TopologyRow } from '../db/schema.ts';
import { isStorable } from '../db/storable.ts';
import { MUTATION_STATES } from './model.ts';

/** A topology with everything that is arranged in it. */
export interface TopologyParts {
  readonly topology: TopologyRow;
  readonly lans: readonly LanRow[];
  readonly deckies: readonly DeckyRow[];
  readonly edges: readonly EdgeRow[];
}

/** Whether the topology exists: one look-up by primary key. */
export async function topologyExists(db: Db | Trx, id: string): Promise<boolean> {
  if (!isStorable(id)) return false;
  const row = await db.selectFrom('topologies').select('id').where('id', '=', id).executeTakeFirst();
  return row !== undefined;
}

/**
 * One page of the topologies, newest first.
 * @param page.status only these; a status that does not exist finds nothing
 */
export async function listTopologies(
  db: Db,
  { limit, offset, status }: { limit: number; offset: number; status?: string | undefined },
): Promise<{ total: number; rows: TopologyRow[] }> {
  if (status !== undefined && !isStorable(status)) return { total: 0, rows: [] };
  let matching = db.selectFrom('topologies');
  if (status !== undefined) matching = matching.where('status', '=', status);
  const { total } = await matching.select((eb) => eb.fn.countAll<number>().as('total')).executeTakeFirstOrThrow();
  const rows = await matching
    .selectAll()
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .limit(limit)
    .offset(offset)
    .execute();
  return { total, rows };
}

/** The topology and its parts as one state of the database; `undefined` when there is no such topology. */
export async function findTopology(db: Db, id: string): Promise<TopologyParts | undefined> {
  if (!isStorable(id)) return undefined;
  return readConsistently(db, (trx) => readParts(trx, id));
}

/** What {@link findTopology} finds, as the transaction sees it. */
export async function readParts(trx: Trx, id: string): Promise<TopologyParts | undefined> {
  const topology = await trx.selectFrom('topologies').selectAll().where('id', '=', id).executeTakeFirst();
  if (topology === undefined) return undefined;
  const lans = await trx.selectFrom('lans').selectAll().where('topology_id', '=', id).orderBy('name').execute();
  const deckies = await trx
    .selectFrom('topology_deckies')
    .selectAll()
    .where('topology_id', '=', id)
    .orderBy('name')
    .execute();
  const edges = await trx
    .selectFrom('topology_edges')
    .selectAll()
    .where('topology_id', '=', id)
    .orderBy('id')
    .execute();
  return { topology, lans, deckies, edges };
}

/** The newest status changes first, at most `limit`. */
export function listStatusEvents(db: Db, topologyId: string, limit: number) {
  return db
    .selectFrom('topology_status_events')
    .select(['id', 'topology_id', 'from_status', 'to_status', 'at', 'reason'])
    .where('topology_id', '=', topologyId)
    .orderBy('at', 'desc')
    .orderBy('id')
    .limit(limit)
    .execute();
}

/**
 * All mutations of a topology, newest first.
 * @param state only these; a state that does not exist finds nothing
 */
export async function listMutations(db: Db | Trx, topologyId: string, state?: string): Promise<MutationRow[]> {
  const wanted = MUTATION_STATES.filter((known) => state === undefined || known === state);
  if (wanted.length === 0) return [];
  return db
    .selectFrom('topology_mutations')
    .selectAll()
    .where('topology_id', '=', topologyId)
    .where('state', 'in', wanted)
    .orderBy('requested_at', 'desc')
    .orderBy('queue_position', 'desc')
    .execute();
}
