import type { JsonObject } from '../../../src/bus/event.ts';
import type { Db, Engine } from '../../../src/db/database.ts';
import { recordSubstrate } from '../../../src/substrate/record.ts';
import type { Fence, Substrate, SubstrateAction } from '../../../src/substrate/substrate.ts';
import { enqueueMutation } from '../../../src/topology/enqueue.ts';
import type { MutationOp } from '../../../src/topology/model.ts';
import { applyMutation } from '../../../src/topology/mutator/apply.ts';
import { claimNext } from '../../../src/topology/mutator/claim.ts';
import { Mutator, type MutatorOptions } from '../../../src/topology/mutator/mutator.ts';
import type { MutatorParts } from '../../../src/topology/mutator/parts.ts';
import { loadState, saveState, type TopologyState } from '../../../src/topology/state.ts';
import { createTestDatabase, quiet } from '../../support/database.ts';
import { OFFICE } from '../ops/support.ts';
import { insertTopology } from '../support.ts';

export const NOW = Date.parse('2026-11-21T09:00:00.000Z');
export const LEASE_MS = 30_000;

/** A database with topologies to mutate, and what it takes to mutate them. */
export async function createWorld(engine: Engine) {
  const { db, url, dispose } = await createTestDatabase(engine);
  const mutators: Mutator[] = [];
  let commits = 0;
  const onCommitted = () => {
    commits += 1;
  };
  const parts: MutatorParts = {
    db,
    substrate: recordSubstrate,
    logger: quiet,
    onCommitted,
    leaseMs: LEASE_MS,
    now: () => NOW,
  };
  return {
    db,
    url,
    parts,
    /** How often the relay has been woken. */
    commits: () => commits,
    /** Puts the office of `ops/support.ts` into the database as a topology of this id. */
    office: (id = 't1', status = 'active') => insertOffice(db, id, status),
    enqueue: (op: MutationOp, payload: JsonObject = {}, id = 't1') =>
      enqueueMutation(db, id, { op, payload, expectedVersion: undefined }),
    /** Applies the next mutation of a topology as a mutator does. @returns whether there was one */
    async applyNext(changes: Partial<MutatorParts> = {}, id = 't1') {
      const own = { ...parts, ...changes };
      const claim = await claimNext(db, id, { holder: 'm1', leaseMs: own.leaseMs, now: own.now() });
      if (claim !== undefined) await applyMutation(own, claim);
      return claim !== undefined;
    },
    /** A mutator that is stopped by `clear`. It looks only when it is woken, unless it is told otherwise. */
    mutator(options: Partial<MutatorOptions> = {}) {
      const node = `m${mutators.length + 1}`;
      const mutator = new Mutator({
        db,
        substrate: recordSubstrate,
        node,
        logger: quiet,
        onCommitted,
        pollMs: 3_600_000,
        ...options,
      });
      mutators.push(mutator);
      mutator.start();
      return mutator;
    },
    state: (id = 't1') => readState(db, id),
    async status(id = 't1') {
      const row = await db.selectFrom('topologies').select('status').where('id', '=', id).executeTakeFirstOrThrow();
      return row.status;
    },
    mutations: (id = 't1') =>
      db.selectFrom('topology_mutations').selectAll().where('topology_id', '=', id).orderBy('queue_position').execute(),
    /** What has been committed for the log, without what the API told. */
    async events(id = 't1') {
      const rows = await db.selectFrom('outbox').select(['topic', 'type', 'payload']).orderBy('seq').execute();
      return rows
        .filter(({ topic }) => topic.startsWith(`topology.${id}.`) && !topic.endsWith('.enqueued'))
        .map(({ topic, type, payload }) => {
          const told: JsonObject = JSON.parse(payload);
          return { name: topic.slice(`topology.${id}.`.length), type, payload: told };
        });
    },
    /** Stops the mutators and empties the database for the next test. */
    async clear() {
      await Promise.all(mutators.splice(0).map((mutator) => mutator.stop()));
      for (const table of [
        'topology_edges',
        'topologies',
        'outbox',
        'channel_revisions',
        'substrate_claims',
      ] as const) {
        await db.deleteFrom(table).execute();
      }
      commits = 0;
    },
    dispose,
  };
}

export type World = Awaited<ReturnType<typeof createWorld>>;

async function insertOffice(db: Db, id: string, status: string): Promise<TopologyState> {
  const office: TopologyState = JSON.parse(JSON.stringify(OFFICE), (key, value: unknown) =>
    typeof value === 'string' && ['id', 'uuid', 'topology_id', 'decky_uuid', 'lan_id'].includes(key)
      ? value.replace(/^t1$|^(?=.)/, (found) => (found === 't1' ? id : `${id}/`))
      : value,
  );
  const state = { ...office, topology: { ...office.topology, status } };
  await insertTopology(db, id, { status });
  await db.transaction().execute((trx) => saveState(trx, { ...state, lans: [], deckies: [], edges: [] }, state, NOW));
  return readState(db, id);
}

async function readState(db: Db, id: string): Promise<TopologyState> {
  const state = await db.transaction().execute((trx) => loadState(trx, id));
  if (state === undefined) throw new Error(`there is no topology ${id}`);
  return state;
}

/** What a substrate was asked for, in short. */
export type Asked = `${SubstrateAction['do']} ${string}`;

/**
 * A substrate that remembers what it runs, and calls `before` before it does anything.
 * @param before may wait, or throw to have the step fail
 */
export function memorySubstrate(before: (asked: Asked) => unknown = () => {}) {
  const asked: Asked[] = [];
  const networks = new Map<string, string>();
  const deckies = new Map<string, string>();
  const step = async (what: Asked, fence: Fence, act: () => void) => {
    asked.push(what);
    await before(what);
    await fence.admit();
    act();
  };
  const substrate: Substrate = {
    ...recordSubstrate,
    // Nobody fights for a record.
    name: 'docker',
    async ensureNetwork(network, fence) {
      await step(`ensureNetwork ${network.name}`, fence, () => networks.set(network.lanId, JSON.stringify(network)));
      return `network of ${network.lanId}`;
    },
    removeNetwork: ({ lanId, name }, fence) => step(`removeNetwork ${name}`, fence, () => networks.delete(lanId)),
    ensureDecky: (decky, fence) =>
      step(`ensureDecky ${decky.name}`, fence, () => deckies.set(decky.uuid, JSON.stringify(decky))),
    removeDecky: ({ uuid, name }, fence) => step(`removeDecky ${name}`, fence, () => deckies.delete(uuid)),
  };
  return {
    substrate,
    asked,
    /** Everything that runs, in no order. */
    running: () => [...networks.values(), ...deckies.values()].sort(),
  };
}
