import { createEvent, type JsonObject } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { DeckyRow } from '../db/schema.ts';
import { configOf, withConfigsOf } from '../topology/decky-config.ts';
import { enqueueMutation } from '../topology/enqueue.ts';
import { LIVE_STATUSES, type MutationOp } from '../topology/model.ts';
import { findTopology, type TopologyParts } from '../topology/repository.ts';
import { DEMO_TOPOLOGIES, demoTopologyId } from './inventory.ts';
import { type DemoAct, type DemoWorld, pick, randomBelow } from './world.ts';

/** So many mutations of one topology may wait: without a mutator the queue must not grow for ever. */
const MAX_IN_FLIGHT = 10;
/** So many mutations of one topology are kept: the demonstration may run for weeks. */
const KEPT_MUTATIONS = 200;
const MAX_SERVICES = 5;
/** Comes and goes; everything else stays where the seed put it. */
const POP_UP = 'pop-up';
const SERVICES = ['ssh', 'http', 'https', 'ftp', 'smb', 'rdp', 'telnet', 'mysql', 'redis', 'snmp'] as const;

interface Proposal {
  readonly op: MutationOp;
  readonly payload: JsonObject;
}

/** Queues a mutation of a live demonstration topology, as its route does. */
export const mutateTopology: DemoAct = async (world) => {
  const parts = await pickTopology(world);
  if (parts === undefined || !LIVE_STATUSES.includes(parts.topology.status)) return;
  const { id } = parts.topology;
  const inFlight = await countInFlight(world, id);
  if (inFlight >= MAX_IN_FLIGHT) return;
  const proposal = propose(world, parts, inFlight === 0);
  if (proposal === undefined) return;
  await enqueueMutation(world.db, id, { ...proposal, expectedVersion: undefined });
  world.onCommitted();
  await forgetOldMutations(world, id);
};

/** Adds a service to a decky or takes one away: the row and the event are one transaction. */
export const changeServices: DemoAct = async (world) => {
  const parts = await pickTopology(world);
  const decky = pick(world, parts?.deckies ?? []);
  if (decky === undefined) return;
  const before: string[] = JSON.parse(decky.services);
  const addable = before.length < MAX_SERVICES ? SERVICES.filter((service) => !before.includes(service)) : [];
  const adds = addable.length > 0 && (before.length < 2 || world.random() < 0.5);
  const service = pick(world, adds ? addable : before);
  if (service === undefined) return;
  const after = adds ? [...before, service] : before.filter((kept) => kept !== service);
  if (await replaceServices(world, decky, service, after, adds)) world.onCommitted();
};

/** @returns whether it happened: a mutation that changed the services since they were read wins */
function replaceServices(world: DemoWorld, decky: DeckyRow, service: string, after: string[], added: boolean) {
  return world.db.transaction().execute(async (trx) => {
    const { numUpdatedRows } = await trx
      .updateTable('topology_deckies')
      .set({
        services: JSON.stringify(after),
        decky_config: JSON.stringify(withConfigsOf(configOf(decky), after)),
        updated_at: new Date().toISOString(),
      })
      .where('uuid', '=', decky.uuid)
      .where('services', '=', decky.services)
      .where('decky_config', 'is not distinct from', decky.decky_config)
      .executeTakeFirstOrThrow();
    if (numUpdatedRows === 0n) return false;
    const topic = topics.decky(decky.name, added ? 'service_added' : 'service_removed');
    const payload = {
      decky_name: decky.name,
      service_name: service,
      topology_id: decky.topology_id,
      services: after,
    };
    await appendToOutbox(trx, [createEvent(topic, '', payload)]);
    return true;
  });
}

async function pickTopology(world: DemoWorld): Promise<TopologyParts | undefined> {
  const topology = pick(world, DEMO_TOPOLOGIES);
  return topology && findTopology(world.db, demoTopologyId(topology));
}

async function countInFlight(world: DemoWorld, topologyId: string): Promise<number> {
  const { total } = await world.db
    .selectFrom('topology_mutations')
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .where('topology_id', '=', topologyId)
    .where('state', 'in', ['pending', 'applying'])
    .executeTakeFirstOrThrow();
  return total;
}

/**
 * A mutation that will succeed, unless the topology is degraded already: there one may fail, to show how that looks.
 * @param idle nothing is in flight, so what the rows say is what the mutation will find
 */
function propose(world: DemoWorld, { topology, lans, deckies }: TopologyParts, idle: boolean): Proposal | undefined {
  const lan = pick(world, lans);
  const decky = pick(
    world,
    deckies.filter(({ name }) => name !== POP_UP),
  );
  if (lan === undefined || decky === undefined) return undefined;
  const place = { x: 40 + randomBelow(world, 960), y: 40 + randomBelow(world, 440) };
  const proposals: Proposal[] = [
    { op: 'update_lan', payload: { name: lan.name, ...place } },
    { op: 'update_decky', payload: { decky: decky.name, ...placeInHome(world) } },
    { op: 'update_decky', payload: { decky: decky.name, services: pickServices(world) } },
  ];
  if (idle) {
    const isUp = deckies.some(({ name }) => name === POP_UP);
    proposals.push(
      isUp
        ? { op: 'remove_decky', payload: { decky: POP_UP } }
        : {
            op: 'add_decky',
            payload: { name: POP_UP, lan: lan.name, services: pickServices(world), ...placeInHome(world) },
          },
    );
  }
  if (topology.status === 'degraded') {
    proposals.push({ op: 'attach_decky', payload: { decky: decky.name, lan: 'no-such-lan' } });
  }
  return pick(world, proposals);
}

function pickServices(world: DemoWorld): string[] {
  const first = randomBelow(world, SERVICES.length - 3);
  return SERVICES.slice(first, first + 1 + randomBelow(world, 3));
}

/** The newest are kept whatever their state, so that the places in the queue go on rising. */
async function forgetOldMutations(world: DemoWorld, topologyId: string): Promise<void> {
  await world.db
    .deleteFrom('topology_mutations')
    .where('topology_id', '=', topologyId)
    .where('state', 'in', ['applied', 'failed'])
    .where('queue_position', '<=', (eb) =>
      eb
        .selectFrom('topology_mutations')
        .select((inner) => inner(inner.fn.max('queue_position'), '-', KEPT_MUTATIONS).as('oldest_kept'))
        .where('topology_id', '=', topologyId),
    )
    .execute();
}

/** DECNET draws a decky inside of its home: its place is relative to that of the LAN. */
const placeInHome = (world: DemoWorld) => ({ x: 12 + randomBelow(world, 2) * 140, y: 40 + randomBelow(world, 3) * 82 });
