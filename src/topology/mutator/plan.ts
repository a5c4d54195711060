import { isJsonObject, type Json, type JsonObject } from '../../bus/event.ts';
import type { SubstrateAction } from '../../substrate/substrate.ts';
import { checkInvariants } from '../invariants.ts';
import { LIVE_STATUSES, MUTATION_OPS } from '../model.ts';
import { OPS } from '../ops/index.ts';
import { MutationError } from '../ops/mutation-error.ts';
import { substrateActions } from '../ops/substrate-actions.ts';
import type { TopologyState } from '../state.ts';
import type { Claim } from './claim.ts';

/** What a mutation comes to in a topology as it is now. */
export type Plan =
  | { readonly can: true; readonly state: TopologyState; readonly actions: readonly SubstrateAction[] }
  /** The reason is `<class>: <message>`; the state is what it would have come to, if it is only not allowed any more. */
  | { readonly can: false; readonly reason: string; readonly state?: TopologyState };

/** Names the rows of mutations (RFC 9562, UUID version 5). */
const NAMESPACE = '0b1d7c52-6a0e-4f6b-8f0e-5a7d2c9e4b13';
/** A reason may hold names from the payload, which may be as long as a request. */
const MAX_REASON = 2000;

/**
 * Plans a mutation without doing anything. Nothing that its payload holds makes this throw.
 * @param subnets.reserved the subnet for a LAN that comes without one
 */
export function planMutation(
  claim: Claim,
  before: TopologyState,
  subnets: { readonly reserved: string | null; readonly used: readonly string[] },
): Plan {
  try {
    const op = MUTATION_OPS.find((known) => known === claim.op);
    if (op === undefined) throw new MutationError(`unknown operation '${claim.op}'`);
    const payload = payloadOf(claim);
    const complete = subnets.reserved === null ? payload : { ...payload, subnet: subnets.reserved };
    const state = OPS[op](before, complete, { newId: idsOf(claim), usedSubnets: subnets.used });
    const broken = checkInvariants(state);
    if (broken.length > 0) {
      throw new MutationError(`post-apply validation failed for ${before.topology.id}: ${broken.join(', ')}`);
    }
    if (!LIVE_STATUSES.includes(before.topology.status)) {
      return { can: false, reason: reasonOf(new MutationError(`the topology is ${before.topology.status}`)), state };
    }
    return { can: true, state, actions: substrateActions(before, state) };
  } catch (error) {
    return { can: false, reason: reasonOf(error) };
  }
}

/** Whether the operation will choose a subnet by itself. */
export function choosesSubnet(claim: Claim): boolean {
  if (claim.op !== 'add_lan') return false;
  try {
    const { subnet } = payloadOf(claim);
    return subnet === undefined || subnet === null;
  } catch {
    return false; // The plan will say what is wrong with the payload.
  }
}

/** `<class>: <message>`, as contract §5.6 wants it; PostgreSQL's text holds no NUL. */
export function reasonOf(error: unknown): string {
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : `Error: ${String(error)}`;
  return reason.replaceAll('\0', '\ufffd').slice(0, MAX_REASON);
}

function payloadOf({ payload }: Claim): JsonObject {
  const parsed: Json = JSON.parse(payload);
  if (!isJsonObject(parsed)) throw new MutationError('the payload must be an object');
  return parsed;
}

/**
 * The same ids each time that a mutation is planned, by whomever: what an interrupted attempt left in the substrate is
 * what the next one looks for.
 */
function idsOf({ mutationId }: Claim): () => string {
  let count = 0;
  return () => {
    count += 1;
    return Bun.randomUUIDv5(`${mutationId}/${count}`, NAMESPACE);
  };
}
