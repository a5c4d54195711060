import { describeError } from '../../errors.ts';
import { claimThing, fencedBy, type Hold, WAIT_MS } from '../../substrate/claim.ts';
import { ClaimLost, carryOut, type Fence, type SubstrateAction } from '../../substrate/substrate.ts';
import { LIVE_STATUSES } from '../model.ts';
import { substrateActions } from '../ops/substrate-actions.ts';
import { loadState, type TopologyState } from '../state.ts';
import { type Claim, renewClaim } from './claim.ts';
import { attempt, type CarriedOut, fail } from './finish.ts';
import { keepClaim } from './keep-claim.ts';
import type { MutatorParts } from './parts.ts';
import { reasonOf } from './plan.ts';

/** A topology that changes while the substrate is at work is planned again; one that never holds still is given up. */
const MAX_PLANS = 10;
/** Characters of a reason with all that could not be undone. */
const MAX_WHOLE = 8000;

/** The substrate could not do its part. */
class SubstrateError extends Error {
  constructor(cause: unknown) {
    super(describeError(cause), { cause });
    this.name = 'SubstrateError';
  }
}

/**
 * Applies a claimed mutation or fails it, while nobody else changes what runs of the topology. The substrate works outside
 * of any transaction; since it is told states, not steps, a successor of a mutator that died anywhere in here simply begins
 * again.
 * @throws {ClaimLost} when somebody else has claimed the topology meanwhile: nothing more has been done then
 * @throws when others do not let go of the topology, or the database does not answer; the mutation is then taken up again
 */
export function applyMutation(parts: MutatorParts, claim: Claim): Promise<void> {
  const { db, substrate, leaseMs, now } = parts;
  return keepClaim(parts, claim, async () => {
    const ground = await claimThing(substrate, db, claim.topologyId, { leaseMs, now, waitMs: WAIT_MS });
    if (ground === undefined) throw new Error(`others are changing topology ${claim.topologyId}`);
    await work(parts, claim, ground).finally(() => ground.release());
  });
}

async function work(parts: MutatorParts, claim: Claim, ground: Hold): Promise<void> {
  const { db, leaseMs, now } = parts;
  const fence = fencedBy(ground, () => renewClaim(db, claim, now() + leaseMs));
  let carriedOut: CarriedOut | undefined;
  for (let plans = 0; plans <= MAX_PLANS; plans += 1) {
    const step = await attempt(parts, claim, carriedOut, ground);
    if (step.is === 'applied') return parts.onCommitted();
    if (step.is === 'lost') return;
    if (step.is === 'refused') return giveUp(parts, claim, fence, carriedOut?.state ?? step.state, step.reason);
    const networkIds = new Map<string, string | null>();
    carriedOut = { ...step, networkIds };
    try {
      for (const action of step.actions) await take(parts, action, networkIds, fence);
    } catch (error) {
      // Whoever holds it now wants what this one failed to bring about: undoing it would be wrong.
      if (error instanceof ClaimLost) throw error;
      return giveUp(parts, claim, fence, step.state, reasonOf(new SubstrateError(error)));
    }
  }
  const reason = reasonOf(new SubstrateError('the topology changed all the time'));
  await giveUp(parts, claim, fence, carriedOut?.state, reason);
}

async function take(
  { substrate }: MutatorParts,
  action: SubstrateAction,
  networkIds: Map<string, string | null>,
  fence: Fence,
): Promise<void> {
  if (action.do === 'ensureNetwork') {
    networkIds.set(action.network.lanId, await substrate.ensureNetwork(action.network, fence));
  } else await carryOut(substrate, [action], fence);
}

/** @param planned what the substrate may have brought about; `undefined` when nobody asked it for anything */
async function giveUp(
  parts: MutatorParts,
  claim: Claim,
  fence: Fence,
  planned: TopologyState | undefined,
  reason: string,
): Promise<void> {
  const problems = planned === undefined ? [] : await undo(parts, claim, planned, fence);
  const whole = problems.length === 0 ? reason : `${reason}; not undone: ${problems.join('; ')}`;
  // One for each decky, in a Docker engine's words: more than an event may hold.
  if (await fail(parts, claim, whole.slice(0, MAX_WHOLE).toWellFormed())) parts.onCommitted();
}

/**
 * Has the substrate run again what the database says, as far as it can.
 * @returns what went wrong
 * @throws {ClaimLost}
 */
async function undo(
  { db, substrate, logger }: MutatorParts,
  claim: Claim,
  planned: TopologyState,
  fence: Fence,
): Promise<string[]> {
  const actual = await db.transaction().execute((trx) => loadState(trx, claim.topologyId));
  if (actual === undefined) return [];
  // What is being torn down must not come back.
  const mayAdd = LIVE_STATUSES.includes(actual.topology.status);
  const problems: string[] = [];
  for (const action of substrateActions(planned, actual)) {
    if (!mayAdd && (action.do === 'ensureNetwork' || action.do === 'ensureDecky')) continue;
    try {
      await carryOut(substrate, [action], fence);
    } catch (error) {
      if (error instanceof ClaimLost) throw error;
      logger.warn('a failed mutation could not be undone', { mutation: claim.mutationId, error: describeError(error) });
      problems.push(describeError(error));
    }
  }
  return problems;
}
