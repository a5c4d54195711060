import type { JsonObject } from '../../bus/event.ts';
import { createEvent } from '../../bus/event.ts';
import { appendToOutbox } from '../../bus/outbox.ts';
import { topics } from '../../bus/topic.ts';
import type { Db, Trx } from '../../db/database.ts';
import type { DeckyRow, EdgeRow, LanRow, TopologyRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import { nextAddress } from '../addresses.ts';
import { lockSubnets, takeSubnets } from '../subnets.ts';

/** A topology on paper: everything but its ids, networks and addresses. */
export interface Draft {
  /** Where its LANs get their networks. */
  readonly pool: string;
  readonly lans: readonly DraftLan[];
  readonly deckies: readonly DraftDecky[];
}

export interface DraftLan {
  readonly name: string;
  readonly isDmz: boolean;
  readonly x: number;
  readonly y: number;
}

export interface DraftDecky {
  readonly name: string;
  readonly archetype: string;
  readonly services: readonly string[];
  /** Its home first. */
  readonly memberships: readonly DraftMembership[];
  readonly x: number;
  readonly y: number;
}

export interface DraftMembership {
  readonly lan: string;
  readonly isBridge: boolean;
  readonly forwardsL3: boolean;
}

/** What a new topology is called, and the request that it was made from. */
export interface NewTopology {
  readonly name: string;
  readonly configSnapshot: JsonObject;
}

/** Rows in one INSERT: well below the number of parameters that either engine takes. */
const CHUNK = 500;

/**
 * Creates a pending topology from a draft and announces it, in one transaction.
 * @throws {AppError} `conflict` when the name is taken or there are no networks left
 */
export function createTopology(
  db: Db,
  topology: NewTopology,
  draft: Draft,
  now: () => number = Date.now,
): Promise<TopologyRow> {
  return db.transaction().execute(async (trx) => {
    // Creations queue up here, so the name that is free below stays free.
    await lockSubnets(trx);
    await assertNameIsFree(trx, topology.name);
    const at = now();
    const row = await insertTopology(trx, topology, at);
    const parts = layOut(row.id, draft, await takeSubnets(trx, draft.pool, draft.lans.length), at);
    for (const lans of chunks(parts.lans)) await trx.insertInto('lans').values(lans).execute();
    for (const deckies of chunks(parts.deckies)) await trx.insertInto('topology_deckies').values(deckies).execute();
    for (const edges of chunks(parts.edges)) await trx.insertInto('topology_edges').values(edges).execute();
    const payload = { state: row.status, reason: null };
    await appendToOutbox(trx, [createEvent(topics.topologyStatus(row.id), 'status', payload, undefined, at)]);
    return row;
  });
}

async function assertNameIsFree(trx: Trx, name: string): Promise<void> {
  const row = await trx.selectFrom('topologies').select('id').where('name', '=', name).executeTakeFirst();
  if (row !== undefined) throw new AppError('conflict', `A topology named '${name}' already exists.`);
}

function insertTopology(trx: Trx, { name, configSnapshot }: NewTopology, at: number): Promise<TopologyRow> {
  const time = new Date(at).toISOString();
  return trx
    .insertInto('topologies')
    .values({
      id: crypto.randomUUID(),
      name,
      mode: 'unihost',
      target_host_uuid: null,
      config_snapshot: JSON.stringify(configSnapshot),
      status: 'pending',
      status_changed_at: time,
      created_at: time,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** The rows of a draft: each LAN with its network, each decky with an address in every LAN that it is in. */
function layOut(topologyId: string, draft: Draft, subnets: readonly string[], at: number) {
  const lans = draft.lans.map((lan, index) => lanRow(topologyId, lan, subnets[index] ?? ''));
  const lanByName = new Map(lans.map((lan) => [lan.name, lan]));
  const taken = new Map<string, string[]>(lans.map((lan) => [lan.name, []]));
  const deckies: DeckyRow[] = [];
  const edges: EdgeRow[] = [];
  for (const decky of draft.deckies) {
    const addresses = decky.memberships.map(({ lan }): [lan: string, ip: string] => {
      const used = taken.get(lan) ?? [];
      const ip = nextAddress(lanByName.get(lan)?.subnet ?? '', used);
      if (ip === undefined) throw new AppError('conflict', `No free address is left in LAN '${lan}'`);
      used.push(ip);
      return [lan, ip];
    });
    const row = deckyRow(topologyId, decky, addresses, at);
    deckies.push(row);
    for (const membership of decky.memberships) {
      edges.push(edgeRow(topologyId, row.uuid, lanByName.get(membership.lan)?.id ?? '', membership));
    }
  }
  return { lans, deckies, edges };
}

function lanRow(topologyId: string, { name, isDmz, x, y }: DraftLan, subnet: string): LanRow {
  return {
    id: crypto.randomUUID(),
    topology_id: topologyId,
    name,
    docker_network_id: null,
    subnet,
    is_dmz: isDmz ? 1 : 0,
    x,
    y,
  };
}

function deckyRow(topologyId: string, decky: DraftDecky, addresses: readonly [string, string][], at: number): DeckyRow {
  const { name, archetype, services, memberships, x, y } = decky;
  const forwards = memberships.some(({ forwardsL3 }) => forwardsL3);
  return {
    uuid: crypto.randomUUID(),
    topology_id: topologyId,
    name,
    services: JSON.stringify(services),
    decky_config: JSON.stringify({
      name,
      ips_by_lan: Object.fromEntries(addresses),
      archetype,
      ...(forwards ? { forwards_l3: true } : {}),
    }),
    ip: addresses[0]?.[1] ?? null,
    state: 'pending',
    last_error: null,
    compose_hash: null,
    last_seen: null,
    updated_at: new Date(at).toISOString(),
    x,
    y,
  };
}

/** Ids of edges rise with time, so that a decky's home is the first of its edges when they are read by id. */
export function edgeRow(
  topologyId: string,
  deckyUuid: string,
  lanId: string,
  { isBridge, forwardsL3 }: Omit<DraftMembership, 'lan'>,
): EdgeRow {
  return {
    id: Bun.randomUUIDv7(),
    topology_id: topologyId,
    decky_uuid: deckyUuid,
    lan_id: lanId,
    is_bridge: isBridge ? 1 : 0,
    forwards_l3: forwardsL3 ? 1 : 0,
  };
}

function* chunks<T>(rows: readonly T[]): Generator<T[]> {
  for (let start = 0; start < rows.length; start += CHUNK) yield rows.slice(start, start + CHUNK);
}
