import { appendToOutbox } from '../../bus/outbox.ts';
import { type Db, readConsistently, type Trx } from '../../db/database.ts';
import { AppError, describeError } from '../../errors.ts';
import type { SubstrateClaim } from '../../substrate/claim.ts';
import { recordSubstrate } from '../../substrate/record.ts';
import { ClaimLost, type Fence, type Substrate } from '../../substrate/substrate.ts';
import { networkOf, runningDecky } from '../ops/substrate-actions.ts';
import { type DeckyState, loadState, type TopologyState } from '../state.ts';
import { type TopologyStatus, transition } from '../status.ts';
import { obstaclesOf } from './deployable.ts';

/** The statuses in which there is something to do. */
export const WORK_STATUSES = ['deploying', 'tearing_down'] as const satisfies TopologyStatus[];
type WorkStatus = (typeof WORK_STATUSES)[number];

/** A reason is shown to people, and kept for ever. */
const MAX_REASON = 2000;

/** The job must not go on: stopped, or the topology is no longer what the job is about. */
export class Interrupted extends Error {}

export interface JobParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly claim: SubstrateClaim;
  /** True when the job shall stop between two steps; another one takes it up from the beginning. */
  readonly isStopping: () => boolean;
  readonly onCommitted: () => void;
}

/** How a job ended: the next status, and what is written with it. */
interface Outcome {
  readonly to: TopologyStatus;
  readonly reason: string | null;
  write(trx: Trx, at: string): Promise<void>;
}

/**
 * Deploys a topology or takes it down. Every step brings about a state, so a job that was interrupted is simply done
 * again; nothing but its end is written.
 * @returns false when there was nothing to do
 * @throws {Interrupted} when it has to be taken up again
 * @throws {ClaimLost} when somebody else has claimed the topology
 */
export async function runJob(parts: JobParts, topologyId: string): Promise<boolean> {
  const state = await readConsistently(parts.db, (trx) => loadState(trx, topologyId));
  const status = WORK_STATUSES.find((known) => known === state?.topology.status);
  if (state === undefined || status === undefined) return false;
  const substrate = state.topology.mode === 'agent' ? recordSubstrate : parts.substrate;
  const ground = { substrate, fence: parts.claim, step: () => assertMayGoOn(parts, topologyId, status) };
  const outcome = await (status === 'deploying' ? deploy : tearDown)(state, ground);
  await finish(parts, topologyId, status, outcome);
  return true;
}

/** What a job works on. */
interface Ground {
  readonly substrate: Substrate;
  readonly fence: Fence;
  /** Between two steps. @throws {Interrupted} when there must be no other one */
  readonly step: () => Promise<void>;
}

async function deploy(state: TopologyState, ground: Ground): Promise<Outcome> {
  // The route refuses such a topology; what a row has come to since is told here.
  const codes = obstaclesOf(state);
  if (codes.length > 0) return failed(`validation failed: ${codes.join(', ')}`);
  const { substrate, fence, step } = ground;
  const networkIds = new Map<string, string | null>();
  let current: DeckyState | undefined;
  try {
    for (const lan of state.lans) {
      await step();
      networkIds.set(lan.id, await substrate.ensureNetwork(networkOf(lan), fence));
    }
    for (const decky of state.deckies) {
      await step();
      current = decky;
      await substrate.ensureDecky(runningDecky(state, decky), fence);
    }
  } catch (error) {
    if (error instanceof Interrupted || error instanceof ClaimLost) throw error;
    // What came up before the failure must not run on unseen.
    const leftovers = await removeAll(state, ground);
    const rest = leftovers.size === 0 ? '' : `; not removed again: ${[...leftovers.values()].join('; ')}`;
    return failed(`deploy failed: ${describeError(error)}${rest}`, current?.uuid);
  }
  return {
    to: 'active',
    reason: null,
    async write(trx, at) {
      for (const [id, networkId] of networkIds) {
        await trx.updateTable('lans').set({ docker_network_id: networkId }).where('id', '=', id).execute();
      }
      // What an agent runs, the agent reports.
      if (state.topology.mode === 'agent') return;
      await setDeckies(trx, state, at, { state: 'running', last_error: null });
    },
  };
}

function failed(reason: string, deckyUuid?: string): Outcome {
  return {
    to: 'failed',
    reason,
    async write(trx, at) {
      if (deckyUuid === undefined) return;
      await trx
        .updateTable('topology_deckies')
        .set({ state: 'failed', last_error: reason.slice(0, MAX_REASON), updated_at: at })
        .where('uuid', '=', deckyUuid)
        .execute();
    },
  };
}

async function tearDown(state: TopologyState, ground: Ground): Promise<Outcome> {
  const leftovers = await removeAll(state, ground);
  const failures = [...leftovers.values()];
  return {
    to: failures.length === 0 ? 'torn_down' : 'degraded',
    reason: failures.length === 0 ? null : `teardown failed: ${failures.join('; ')}`,
    async write(trx, at) {
      await setDeckies(trx, state, at, { state: 'torn_down', last_error: null });
      for (const decky of state.deckies) {
        const error = leftovers.get(decky.uuid);
        if (error === undefined) continue;
        await trx
          .updateTable('topology_deckies')
          .set({ state: 'teardown_failed', last_error: error.slice(0, MAX_REASON) })
          .where('uuid', '=', decky.uuid)
          .execute();
      }
      if (failures.length > 0) return;
      const topologyId = state.topology.id;
      await trx.updateTable('lans').set({ docker_network_id: null }).where('topology_id', '=', topologyId).execute();
    },
  };
}

/**
 * Removes as much as can be removed: one decky that stays keeps no other. Networks go only when every decky is gone.
 * @returns what stayed: the decky's or the LAN's id → why
 */
async function removeAll(state: TopologyState, { substrate, fence, step }: Ground): Promise<Map<string, string>> {
  const leftovers = new Map<string, string>();
  const attempt = async (id: string, name: string, remove: () => Promise<void>) => {
    await step();
    try {
      await remove();
    } catch (error) {
      if (error instanceof ClaimLost) throw error;
      leftovers.set(id, `${name}: ${describeError(error)}`);
    }
  };
  for (const decky of state.deckies) {
    const { topology_id: topologyId, uuid, name } = decky;
    await attempt(uuid, name, () => substrate.removeDecky({ topologyId, uuid, name }, fence));
  }
  if (leftovers.size > 0) return leftovers;
  for (const lan of state.lans) await attempt(lan.id, lan.name, () => substrate.removeNetwork(networkOf(lan), fence));
  return leftovers;
}

function setDeckies(
  trx: Trx,
  { topology }: TopologyState,
  at: string,
  columns: { readonly state: string; readonly last_error: null },
) {
  return trx
    .updateTable('topology_deckies')
    .set({ ...columns, updated_at: at })
    .where('topology_id', '=', topology.id)
    .execute();
}

async function assertMayGoOn(parts: JobParts, topologyId: string, status: WorkStatus): Promise<void> {
  if (parts.isStopping()) throw new Interrupted('stopping');
  const row = await parts.db.selectFrom('topologies').select('status').where('id', '=', topologyId).executeTakeFirst();
  if (row?.status !== status) throw new Interrupted(`the topology is no longer ${status}`);
}

async function finish(parts: JobParts, topologyId: string, from: WorkStatus, outcome: Outcome): Promise<void> {
  const now = Date.now();
  const reason = outcome.reason?.slice(0, MAX_REASON) ?? null;
  try {
    await parts.db.transaction().execute(async (trx) => {
      const event = await transition(trx, topologyId, [from], outcome.to, reason, now);
      await parts.claim.holdIn(trx);
      await outcome.write(trx, new Date(now).toISOString());
      await appendToOutbox(trx, [event]);
    });
  } catch (error) {
    // Somebody asked for a teardown between the last step and here: that comes next.
    if (error instanceof AppError) throw new Interrupted(error.message);
    throw error;
  }
  parts.onCommitted();
}
