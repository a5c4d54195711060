import type { Db, Trx } from '../db/database.ts';
import {
  DEMO_TOPOLOGIES,
  type DemoDecky,
  type DemoTopology,
  demoAddresses,
  demoId,
  demoTopologyId,
} from './inventory.ts';

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;

/**
 * Fills an empty database with topologies to look at. Where any demonstration topology is there already, nothing is added and
 * nothing changed.
 * @param now milliseconds since the epoch; the data is a few days old then
 * @returns whether it was this call that filled the database
 */
export function seedDemo(db: Db, now: number): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    if (await isSeeded(trx)) return false;
    const inserted = await trx
      .insertInto('topologies')
      .values(DEMO_TOPOLOGIES.map((topology, index) => topologyRow(topology, now - (index + 2) * DAY_MS)))
      // Two nodes may start at once: the second waits here for the first and then finds everything done.
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .execute();
    if (inserted.length === 0) return false;
    for (const [index, topology] of DEMO_TOPOLOGIES.entries()) {
      await seedParts(trx, topology, now - (index + 2) * DAY_MS);
    }
    return true;
  });
}

/** Whether a demonstration topology is there, or one of the same name. */
export async function isSeeded(db: Db | Trx): Promise<boolean> {
  const ids = DEMO_TOPOLOGIES.map(demoTopologyId);
  const names = DEMO_TOPOLOGIES.map(({ name }) => name);
  const there = await db
    .selectFrom('topologies')
    .select('id')
    .where((eb) => eb.or([eb('id', 'in', ids), eb('name', 'in', names)]))
    .executeTakeFirst();
  return there !== undefined;
}

/** What happened to a topology so far: when, and into which status. */
function historyOf({ status }: DemoTopology, createdAt: number) {
  const history = [
    { from_status: 'pending', to_status: 'deploying', at: createdAt + MINUTE_MS, reason: null },
    { from_status: 'deploying', to_status: 'active', at: createdAt + 3 * MINUTE_MS, reason: null },
  ];
  const reason = "mutation failed: MutationError: cannot detach home LAN 'wards'; use remove_decky";
  const degraded = { from_status: 'active', to_status: 'degraded', at: createdAt + DAY_MS, reason };
  return status === 'degraded' ? [...history, degraded] : history;
}

function topologyRow(topology: DemoTopology, createdAt: number) {
  const last = historyOf(topology, createdAt).at(-1);
  return {
    id: demoTopologyId(topology),
    name: topology.name,
    mode: 'unihost' as const,
    target_host_uuid: null,
    config_snapshot: '{}',
    status: topology.status,
    status_changed_at: isoTime(last?.at ?? createdAt),
    created_at: isoTime(createdAt),
  };
}

async function seedParts(trx: Trx, topology: DemoTopology, createdAt: number): Promise<void> {
  const topologyId = demoTopologyId(topology);
  await trx
    .insertInto('lans')
    .values(
      topology.lans.map((lan, index) => ({
        id: lanId(topology, lan.name),
        topology_id: topologyId,
        name: lan.name,
        docker_network_id: null,
        subnet: `${lan.network}.0/24`,
        is_dmz: index === 0 ? (1 as const) : (0 as const),
        x: 40 + index * 320,
        y: 40,
      })),
    )
    .execute();
  await trx
    .insertInto('topology_deckies')
    .values(topology.deckies.map((decky, index) => deckyRow(topology, decky, index, createdAt)))
    .execute();
  await trx
    .insertInto('topology_edges')
    .values(topology.deckies.flatMap((decky, index) => edgeRows(topology, decky, index === 0)))
    .execute();
  await trx
    .insertInto('topology_status_events')
    .values(
      historyOf(topology, createdAt).map((change) => ({
        ...change,
        id: demoId(`status/${topology.name}/${change.to_status}`),
        topology_id: topologyId,
        at: isoTime(change.at),
      })),
    )
    .execute();
}

function deckyRow(topology: DemoTopology, decky: DemoDecky, index: number, createdAt: number) {
  const addresses = demoAddresses(topology, decky, index);
  const isGateway = index === 0;
  return {
    uuid: deckyId(topology, decky),
    topology_id: demoTopologyId(topology),
    name: decky.name,
    services: JSON.stringify(decky.services),
    decky_config: JSON.stringify({
      name: decky.name,
      ips_by_lan: addresses,
      archetype: decky.archetype,
      ...(isGateway ? { forwards_l3: true } : {}),
    }),
    ip: addresses[decky.lans[0]] ?? null,
    state: 'running',
    last_error: null,
    compose_hash: null,
    last_seen: isoTime(createdAt + 3 * MINUTE_MS),
    updated_at: isoTime(createdAt + 3 * MINUTE_MS),
    ...placeInHome(topology, decky),
  };
}

/** DECNET draws a decky inside of its home: its place is relative to that of the LAN. */
function placeInHome({ deckies }: DemoTopology, { lans: [home], name }: DemoDecky) {
  const index = deckies.filter(({ lans }) => lans[0] === home).findIndex((decky) => decky.name === name);
  return { x: 12 + (index % 2) * 140, y: 40 + Math.floor(index / 2) * 82 };
}

function edgeRows(topology: DemoTopology, decky: DemoDecky, isGateway: boolean) {
  return decky.lans.map((lan, index) => ({
    id: demoId(`edge/${topology.name}/${decky.name}/${lan}`),
    topology_id: demoTopologyId(topology),
    decky_uuid: deckyId(topology, decky),
    lan_id: lanId(topology, lan),
    is_bridge: index === 0 ? (0 as const) : (1 as const),
    forwards_l3: isGateway ? (1 as const) : (0 as const),
  }));
}

const lanId = (topology: DemoTopology, lan: string) => demoId(`lan/${topology.name}/${lan}`);
const deckyId = (topology: DemoTopology, decky: DemoDecky) => demoId(`decky/${topology.name}/${decky.name}`);
const isoTime = (milliseconds: number) => new Date(milliseconds).toISOString();
