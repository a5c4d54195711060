import { createEvent, type Event, newEventId } from '../../bus/event.ts';
import { appendToOutbox } from '../../bus/outbox.ts';
import { topics } from '../../bus/topic.ts';
import type { Trx } from '../../db/database.ts';
import type { Hold } from '../../substrate/claim.ts';
import type { SubstrateAction } from '../../substrate/substrate.ts';
import { loadState, saveState, type TopologyState } from '../state.ts';
import { transition } from '../status.ts';
import { lockUsedSubnets } from '../subnets.ts';
import { type Claim, type HeldClaim, lockClaim } from './claim.ts';
import type { MutatorParts } from './parts.ts';
import { choosesSubnet, type Plan, planMutation } from './plan.ts';
import { reserveSubnet } from './reserve-subnet.ts';

/** A plan that the substrate has carried out, wholly or in part. */
export interface CarriedOut {
  readonly state: TopologyState;
  readonly actions: readonly SubstrateAction[];
  /** The substrate's own ids of the networks that it made sure of, by LAN. */
  readonly networkIds: ReadonlyMap<string, string | null>;
}

export type Attempt =
  | { readonly is: 'applied' }
  /** Somebody else applies the mutation now, or its topology is no more. */
  | { readonly is: 'lost' }
  /** The state is what an earlier attempt, of a mutator that died, may have begun to bring about. */
  | { readonly is: 'refused'; readonly reason: string; readonly state: TopologyState | undefined }
  /** The substrate has to do this first. */
  | { readonly is: 'planned'; readonly state: TopologyState; readonly actions: readonly SubstrateAction[] };

/**
 * Applies a mutation if the substrate has done all that it takes, in one transaction: the topology, the mutation, the status
 * of a topology that is healed by it, and the events. Else plans what the substrate has to do.
 *
 * The plan is made anew from what the topology is now: it may have changed while the substrate was at work.
 * @param ground under which the plan was carried out: nobody else has changed what it brought about
 * @throws {ClaimLost} when the ground has gone to somebody else
 */
export function attempt(
  { db, now }: MutatorParts,
  claim: Claim,
  carriedOut: CarriedOut | undefined,
  ground: Hold,
): Promise<Attempt> {
  return db.transaction().execute(async (trx): Promise<Attempt> => {
    const held = await lockClaim(trx, claim);
    const before = held && (await loadState(trx, claim.topologyId));
    if (held === undefined || before === undefined) return { is: 'lost' };
    await ground.holdIn(trx);
    const plan = await planWithSubnet(trx, claim, held, before);
    if (!plan.can) return { is: 'refused', reason: plan.reason, state: plan.state };
    const { state, actions } = plan;
    if (!Bun.deepEquals(actions, carriedOut?.actions ?? [])) return { is: 'planned', state, actions };
    const at = now();
    await saveState(trx, before, withNetworkIds(state, carriedOut?.networkIds ?? new Map()), at);
    await close(trx, claim, 'applied', null, at);
    const { topologyId, mutationId, op } = claim;
    const topic = topics.topologyMutation(topologyId, 'applied');
    const applied = createEvent(topic, 'applied', { mutation_id: mutationId, op }, newEventId(), at);
    const healed =
      held.status === 'degraded'
        ? [await transition(trx, topologyId, ['degraded'], 'active', 'a later mutation succeeded', at)]
        : [];
    await appendToOutbox(trx, [applied, ...healed]);
    return { is: 'applied' };
  });
}

/**
 * Marks the mutation failed and its topology degraded, in one transaction with the events. The topology's parts are not
 * touched.
 * @returns false when the claim had been lost, so that nothing was done
 */
export function fail({ db, now }: MutatorParts, claim: Claim, reason: string): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const held = await lockClaim(trx, claim);
    if (held === undefined) return false;
    const at = now();
    await close(trx, claim, 'failed', reason, at);
    const { topologyId, mutationId, op } = claim;
    const topic = topics.topologyMutation(topologyId, 'failed');
    const failed = createEvent(topic, 'failed', { mutation_id: mutationId, op, reason }, newEventId(), at);
    const degraded: Event[] =
      held.status === 'active' ? [await transition(trx, topologyId, ['active'], 'degraded', reason, at)] : [];
    await appendToOutbox(trx, [failed, ...degraded]);
    return true;
  });
}

async function planWithSubnet(trx: Trx, claim: Claim, held: HeldClaim, before: TopologyState): Promise<Plan> {
  const mustChoose = held.reservedSubnet === null && choosesSubnet(claim);
  const used = mustChoose ? await lockUsedSubnets(trx) : [];
  const plan = planMutation(claim, before, { reserved: held.reservedSubnet, used });
  const chosen = mustChoose && plan.can ? plan.state.lans.at(-1)?.subnet : undefined;
  if (chosen !== undefined) await reserveSubnet(trx, claim, chosen);
  return plan;
}

function withNetworkIds(state: TopologyState, networkIds: CarriedOut['networkIds']): TopologyState {
  const lans = state.lans.map((lan) => ({
    ...lan,
    docker_network_id: networkIds.get(lan.id) ?? lan.docker_network_id,
  }));
  return { ...state, lans };
}

async function close(trx: Trx, claim: Claim, state: 'applied' | 'failed', reason: string | null, at: number) {
  await trx
    .updateTable('topology_mutations')
    .set({
      state,
      reason,
      applied_at: new Date(at).toISOString(),
      claim_expires_at: null,
      reserved_subnet: null,
    })
    .where('id', '=', claim.mutationId)
    .execute();
}
