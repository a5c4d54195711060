import { createEvent, newEventId } from '../../bus/event.ts';
import { appendToOutbox } from '../../bus/outbox.ts';
import { topics } from '../../bus/topic.ts';
import type { Db, Trx } from '../../db/database.ts';
import { lockRow } from '../../db/row-lock.ts';
import { LIVE_STATUSES } from '../model.ts';

/** A mutation that one mutator applies. */
export interface Claim {
  readonly mutationId: string;
  readonly topologyId: string;
  /** As it was queued: not known to be an operation, nor the payload to be what one asks for. */
  readonly op: string;
  /** JSON. */
  readonly payload: string;
  readonly holder: string;
  /** Tells this claim from an earlier one of the same holder. */
  readonly attempt: number;
}

export interface Claimant {
  readonly holder: string;
  /** Milliseconds for which the claim is the holder's, unless renewed. */
  readonly leaseMs: number;
  /** Milliseconds since the epoch; the clocks of mutators must agree within a fraction of `leaseMs`. */
  readonly now: number;
}

/** What a holder finds when it looks at its claim. */
export interface HeldClaim {
  readonly status: string;
  readonly reservedSubnet: string | null;
}

/**
 * The topologies that have a mutation which nobody applies, the one that has waited longest first.
 * @param now milliseconds since the epoch
 */
export async function topologiesWithWork(db: Db, now: number): Promise<string[]> {
  const rows = await db
    .selectFrom('topology_mutations as mutation')
    .innerJoin('topologies as topology', 'topology.id', 'mutation.topology_id')
    .select('mutation.topology_id')
    .where((eb) =>
      eb.or([
        eb.and([eb('mutation.state', '=', 'pending'), eb('topology.status', 'in', LIVE_STATUSES)]),
        eb.and([
          eb('mutation.state', '=', 'applying'),
          eb.or([eb('mutation.claim_expires_at', 'is', null), eb('mutation.claim_expires_at', '<', now)]),
        ]),
      ]),
    )
    .groupBy('mutation.topology_id')
    .orderBy((eb) => eb.fn.min('mutation.requested_at'))
    .execute();
  return rows.map((row) => row.topology_id);
}

/**
 * Takes the mutation that is next in a topology's queue: one whose mutator has gone silent, else the oldest that waits
 * while the topology is live. The event tells that it is being applied now; who takes it over tells nothing new.
 * @returns `undefined` when there is none, or another is being applied
 */
export async function claimNext(db: Db, topologyId: string, claimant: Claimant): Promise<Claim | undefined> {
  // Every mutator is woken by every event: those that come too late leave without a lock.
  if (!isClaimable(await nextMutation(db, topologyId), claimant.now)) return undefined;
  return db.transaction().execute(async (trx) => {
    // The topology's lock makes what follows happen one by one: two of its mutations are never held at once.
    const status = (await lockRow(trx, 'topologies', { id: topologyId }))?.status;
    const next = await nextMutation(trx, topologyId);
    if (status === undefined || next === undefined || !isClaimable(next, claimant.now)) return undefined;
    const isNew = next.state === 'pending';
    if (isNew && !LIVE_STATUSES.includes(status)) return undefined;
    const { id: mutationId, op, payload } = next;
    const { holder, leaseMs, now } = claimant;
    const attempt = next.attempts + 1;
    await trx
      .updateTable('topology_mutations')
      .set({ state: 'applying', claimed_by: holder, claim_expires_at: now + leaseMs, attempts: attempt })
      .where('id', '=', mutationId)
      .execute();
    const topic = topics.topologyMutation(topologyId, 'applying');
    const reported = { mutation_id: mutationId, op, payload };
    await appendToOutbox(trx, isNew ? [createEvent(topic, 'applying', reported, newEventId(), now)] : []);
    return { mutationId, topologyId, op, payload, holder, attempt };
  });
}

/**
 * @param expiresAt milliseconds since the epoch; in the past it gives the claim up
 * @returns whether it is still the holder's
 */
export async function renewClaim(db: Db, claim: Claim, expiresAt: number): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('topology_mutations')
    .set({ claim_expires_at: expiresAt })
    .where('id', '=', claim.mutationId)
    .where('state', '=', 'applying')
    .where('claimed_by', '=', claim.holder)
    .where('attempts', '=', claim.attempt)
    .executeTakeFirstOrThrow();
  return numUpdatedRows > 0n;
}

/**
 * Locks the topology of a claim until the end of the transaction.
 * @returns `undefined` when the claim has gone to somebody else, or its mutation is no more
 */
export async function lockClaim(trx: Trx, claim: Claim): Promise<HeldClaim | undefined> {
  const status = (await lockRow(trx, 'topologies', { id: claim.topologyId }))?.status;
  const row = await trx
    .selectFrom('topology_mutations')
    .select('reserved_subnet')
    .where('id', '=', claim.mutationId)
    .where('state', '=', 'applying')
    .where('claimed_by', '=', claim.holder)
    .where('attempts', '=', claim.attempt)
    .executeTakeFirst();
  return status === undefined || row === undefined ? undefined : { status, reservedSubnet: row.reserved_subnet };
}

type NextMutation = NonNullable<Awaited<ReturnType<typeof nextMutation>>>;

/** What is being applied comes before what waits (`applying` sorts before `pending`), then the place in the queue. */
function nextMutation(db: Db | Trx, topologyId: string) {
  return db
    .selectFrom('topology_mutations')
    .select(['id', 'op', 'payload', 'state', 'attempts', 'claim_expires_at'])
    .where('topology_id', '=', topologyId)
    .where('state', 'in', ['applying', 'pending'])
    .orderBy('state')
    .orderBy('queue_position')
    .limit(1)
    .executeTakeFirst();
}

function isClaimable(next: NextMutation | undefined, now: number): boolean {
  return next !== undefined && (next.state === 'pending' || (next.claim_expires_at ?? 0) < now);
}
