import type { Db } from '../db/database.ts';
import { substrateId } from '../decky/fleet.ts';
import { FLEET, type SubstrateObject } from '../substrate/substrate.ts';
import { LIVE_STATUSES } from '../topology/model.ts';

/** Something that a row says is there, or that an object stands for. */
export type Subject = Pick<SubstrateObject, 'kind' | 'topologyId' | 'of' | 'name'>;

/** In these statuses something of a topology may be there; in the others nothing is. */
const STATUSES = ['deploying', ...LIVE_STATUSES, 'tearing_down'];
/** Rows that are read at once. */
const PAGE = 500;

/** The same for an object and for the row that explains it. */
export const keyOf = ({ kind, topologyId, of }: Subject): string => JSON.stringify([kind, topologyId, of]);

/** Those of the objects that no row explains. */
export async function unexplained(db: Db, objects: readonly SubstrateObject[]): Promise<SubstrateObject[]> {
  const strangers: SubstrateObject[] = [];
  for (let start = 0; start < objects.length; start += PAGE) {
    const page = objects.slice(start, start + PAGE);
    const explained = new Set((await explanationsOf(db, page)).map(keyOf));
    strangers.push(...page.filter((object) => !explained.has(keyOf(object))));
  }
  return strangers;
}

/**
 * The deckies of which rows say that they run here, page by page. One of the fleet is started by its first rotation; until
 * then its row says nothing of a substrate.
 */
export async function* runningDeckies(db: Db): AsyncGenerator<readonly Subject[]> {
  for (let after: string | undefined = ''; after !== undefined; ) {
    const rows: Subject[] = await deckiesOf(db, LIVE_STATUSES)
      .where('part.state', '=', 'running')
      .where('part.uuid', '>', after)
      .orderBy('part.uuid')
      .limit(PAGE)
      .execute();
    yield rows;
    after = rows.length < PAGE ? undefined : rows.at(-1)?.of;
  }
  for (let after: string | undefined = ''; after !== undefined; ) {
    const rows: Subject[] = (
      await fleetDeckies(db)
        .where('state', '=', 'running')
        .where('last_mutated_at', 'is not', null)
        .where('name', '>', after)
        .orderBy('name')
        .limit(PAGE)
        .execute()
    ).map(fleetSubject);
    yield rows;
    after = rows.length < PAGE ? undefined : rows.at(-1)?.name;
  }
}

async function explanationsOf(db: Db, objects: readonly SubstrateObject[]): Promise<Subject[]> {
  const ofKind = (kind: SubstrateObject['kind']) =>
    objects.filter((object) => object.kind === kind).map(({ of }) => of);
  const names = objects.filter(({ topologyId }) => topologyId === FLEET).map(({ name }) => name);
  const [deckies, lans] = [ofKind('decky'), ofKind('network')];
  return [
    // PostgreSQL takes no empty list.
    ...(deckies.length === 0 ? [] : await deckiesOf(db, STATUSES).where('part.uuid', 'in', deckies).execute()),
    ...(lans.length === 0 ? [] : await lansOf(db, STATUSES).where('part.id', 'in', lans).execute()),
    ...(names.length === 0 ? [] : await fleetDeckies(db).where('name', 'in', names).execute()).map(fleetSubject),
  ];
}

// What an agent on another host runs is not this substrate's.

function deckiesOf(db: Db, statuses: readonly string[]) {
  return db
    .selectFrom('topology_deckies as part')
    .innerJoin('topologies as topology', 'topology.id', 'part.topology_id')
    .select((eb) => [eb.val('decky' as const).as('kind'), 'topology.id as topologyId', 'part.uuid as of', 'part.name'])
    .where('topology.mode', '=', 'unihost')
    .where('topology.status', 'in', statuses);
}

function lansOf(db: Db, statuses: readonly string[]) {
  return db
    .selectFrom('lans as part')
    .innerJoin('topologies as topology', 'topology.id', 'part.topology_id')
    .select((eb) => [eb.val('network' as const).as('kind'), 'topology.id as topologyId', 'part.id as of', 'part.name'])
    .where('topology.mode', '=', 'unihost')
    .where('topology.status', 'in', statuses);
}

const fleetDeckies = (db: Db) => db.selectFrom('fleet_deckies').select(['name', 'host_uuid']);

function fleetSubject(row: { readonly name: string; readonly host_uuid: string | null }): Subject {
  return { kind: 'decky', topologyId: FLEET, of: substrateId(row), name: row.name };
}
