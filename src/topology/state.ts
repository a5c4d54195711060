import { isJsonObject, type JsonObject } from '../bus/event.ts';
import type { Trx } from '../db/database.ts';
import type { DeckyRow, EdgeRow, LanRow, TopologyRow } from '../db/schema.ts';
import { servicesOf } from './decky-config.ts';
import { deckyOf } from './model.ts';
import { readParts } from './repository.ts';

export type LanState = Readonly<LanRow>;
export type EdgeState = Readonly<EdgeRow>;
export type DeckyState = Readonly<Omit<DeckyRow, 'services' | 'decky_config' | 'updated_at'>> & {
  readonly services: readonly string[];
  /** Holds at least `name` and `ips_by_lan`. */
  readonly decky_config: JsonObject;
};

/** A topology with everything in it, as plain data that is never changed: an operation makes a new one. */
export interface TopologyState {
  readonly topology: Readonly<Pick<TopologyRow, 'id' | 'status' | 'mode'>>;
  readonly lans: readonly LanState[];
  readonly deckies: readonly DeckyState[];
  readonly edges: readonly EdgeState[];
}

/** What the transaction sees of the topology; `undefined` when there is none. */
export async function loadState(trx: Trx, topologyId: string): Promise<TopologyState | undefined> {
  const parts = await readParts(trx, topologyId);
  if (parts === undefined) return undefined;
  const { lans, edges } = parts;
  const { id, status, mode } = parts.topology;
  const lanNames = new Map(lans.map((lan) => [lan.id, lan.name]));
  const homes = new Map(
    edges.filter((edge) => edge.is_bridge === 0).map((edge) => [edge.decky_uuid, lanNames.get(edge.lan_id)]),
  );
  const deckies = parts.deckies.map((row) => ({
    ...row,
    services: servicesOf(row),
    decky_config: deckyOf(row, homes.get(row.uuid)).decky_config,
  }));
  return { topology: { id, status, mode }, lans, deckies, edges };
}

/**
 * Writes what differs: whatever else was committed to a row since `before` was read stays.
 * @param now milliseconds since the epoch
 */
export async function saveState(trx: Trx, before: TopologyState, after: TopologyState, now: number): Promise<void> {
  const lans = changesOf(before.lans, after.lans, ({ id }) => id);
  const deckies = changesOf(before.deckies.map(deckyColumns), after.deckies.map(deckyColumns), ({ uuid }) => uuid);
  const edges = changesOf(before.edges, after.edges, ({ id }) => id);
  const updatedAt = new Date(now).toISOString();
  // Edges refer to deckies and LANs: they go first and come last. What goes makes room for what takes its name.
  for (const id of edges.removed) await trx.deleteFrom('topology_edges').where('id', '=', id).execute();
  for (const id of deckies.removed) await trx.deleteFrom('topology_deckies').where('uuid', '=', id).execute();
  for (const id of lans.removed) await trx.deleteFrom('lans').where('id', '=', id).execute();
  for (const [id, columns] of lans.changed) {
    await trx.updateTable('lans').set(columns).where('id', '=', id).execute();
  }
  for (const [id, columns] of deckies.changed) {
    const set = { ...columns, updated_at: updatedAt };
    await trx.updateTable('topology_deckies').set(set).where('uuid', '=', id).execute();
  }
  for (const [id, columns] of edges.changed) {
    await trx.updateTable('topology_edges').set(columns).where('id', '=', id).execute();
  }
  for (const lan of lans.added) await trx.insertInto('lans').values(lan).execute();
  for (const decky of deckies.added) {
    await trx
      .insertInto('topology_deckies')
      .values({ ...decky, updated_at: updatedAt })
      .execute();
  }
  for (const edge of edges.added) await trx.insertInto('topology_edges').values(edge).execute();
}

export function lanNamed(state: TopologyState, name: string): LanState | undefined {
  return state.lans.find((lan) => lan.name === name);
}

export function deckyNamed(state: TopologyState, name: string): DeckyState | undefined {
  return state.deckies.find((decky) => decky.name === name);
}

/** Where a decky answers: LAN name → address. What is no text becomes text, and then is no address. */
export function addressesOf({ decky_config }: Pick<DeckyState, 'decky_config'>): ReadonlyMap<string, string> {
  const stored = decky_config.ips_by_lan;
  return new Map(isJsonObject(stored) ? Object.entries(stored).map(([lan, ip]) => [lan, String(ip)]) : []);
}

/**
 * The name of the LAN where the decky is at home: that of its own address, else the first (contract §5.6). The first alone
 * would not do: JavaScript puts a LAN whose name is a number in front of all others.
 */
export function homeLanOf(decky: Pick<DeckyState, 'decky_config' | 'ip'>): string | undefined {
  const addresses = [...addressesOf(decky)];
  const [home] = addresses.find(([, ip]) => ip === decky.ip) ?? addresses[0] ?? [];
  return home;
}

function deckyColumns({ services, decky_config, ...columns }: DeckyState) {
  return { ...columns, services: JSON.stringify(services), decky_config: JSON.stringify(decky_config) };
}

function changesOf<Row extends object>(
  before: readonly Row[],
  after: readonly Row[],
  keyOf: (row: Row) => string,
): { removed: string[]; changed: [key: string, columns: Partial<Row>][]; added: Row[] } {
  const old = new Map(before.map((row) => [keyOf(row), row]));
  const kept = new Set(after.map(keyOf));
  const changed: [string, Partial<Row>][] = [];
  const added: Row[] = [];
  for (const row of after) {
    const was = old.get(keyOf(row));
    const columns = was === undefined ? undefined : changedColumns(was, row);
    if (columns === undefined) added.push(row);
    else if (Object.keys(columns).length > 0) changed.push([keyOf(row), columns]);
  }
  return { removed: [...old.keys()].filter((key) => !kept.has(key)), changed, added };
}

function changedColumns<Row extends object>(before: Row, after: Row): Partial<Row> {
  const columns: Partial<Row> = {};
  for (const name in after) if (after[name] !== before[name]) columns[name] = after[name];
  return columns;
}
