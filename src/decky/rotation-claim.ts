import { createEvent, type Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import { configsOfServices } from '../catalog/service-config.ts';
import type { Db, Trx } from '../db/database.ts';
import { lockRow } from '../db/row-lock.ts';
import type { DeckyLifecycleRow, FleetDeckyRow, LifecycleStatus } from '../db/schema.ts';
import { configsIn, fleetStateEvent, isoTime, textsOf } from './fleet.ts';
import { intervalOf, pickServices } from './rotation.ts';

/** A rotation, or a first start, that this node carries out: under one claim, for every request that waited when it began. */
export interface Rotation {
  /** Names the claim: nobody else has it. */
  readonly claim: string;
  readonly decky: FleetDeckyRow;
  readonly operation: DeckyLifecycleRow['operation'];
  readonly oldServices: readonly string[];
  readonly newServices: readonly string[];
  readonly trigger: DeckyLifecycleRow['trigger'];
  readonly actor: string | null;
}

/** How a rotation went in the substrate. */
export type Outcome =
  | { readonly kind: 'succeeded' }
  /**
   * `state` is what the decky is in now: `running` as before, `degraded` when that could not be brought back, `failed` when
   * it has never run.
   */
  | { readonly kind: 'failed'; readonly error: string; readonly state: 'running' | 'degraded' | 'failed' };

export interface ClaimTerms {
  /** Names the claim; a fresh one each time. */
  readonly claim: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Milliseconds after which the claim is anybody's, unless it is renewed. */
  readonly leaseMs: number;
  readonly random: () => number;
}

const OPEN: readonly LifecycleStatus[] = ['pending', 'running'];
const MAX_ERROR = 2000;
const DAY_MS = 86_400_000;
/** Requests that were done with so long ago are forgotten. */
const KEEP_MS = 30 * DAY_MS;

/** Names of deckies with something to do that nobody is doing, longest waiting first. */
export async function claimableDeckies(db: Db, now: number, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('decky_lifecycle')
    .select('decky_name')
    .where('status', 'in', OPEN)
    .groupBy('decky_name')
    // A claim that still holds keeps the decky's other requests waiting as well.
    .having((eb) => eb(eb.fn.max(eb.fn.coalesce('claim_expires_at', eb.lit(0))), '<=', now))
    .orderBy((eb) => eb.fn.min('started_at'))
    .limit(limit)
    .execute();
  return rows.map(({ decky_name }) => decky_name);
}

/**
 * Takes every open request of a decky, with what an earlier holder had chosen when its claim has expired.
 * @returns the rotation; `'refused'` when it can never be done, which the requests then say; `undefined` when another
 *   node has it
 */
export function claimRotation(db: Db, name: string, terms: ClaimTerms): Promise<Rotation | 'refused' | undefined> {
  const { claim, now, leaseMs, random } = terms;
  return db.transaction().execute(async (trx) => {
    const decky = await lockDecky(trx, name);
    const all = await openRequests(trx, name);
    if (all.length === 0 || all.some((request) => (request.claim_expires_at ?? 0) > now)) return undefined;
    // What has never run is started first; what is to change it then waits for the next turn.
    const starts = all.filter(({ operation }) => operation === 'deploy');
    const open = decky === undefined || starts.length === 0 ? all : starts;
    const operation = open === starts ? 'deploy' : 'mutate';
    const pool = textsOf(decky?.service_pool ?? '[]');
    if (decky === undefined || (pool.length === 0 && operation === 'mutate')) {
      const problem = decky === undefined ? `Decky ${name} not found` : `No services available to mutate ${name}`;
      await appendToOutbox(trx, await closeRequests(trx, open, now, problem));
      return 'refused';
    }
    const oldServices = textsOf(decky.services);
    const planned = open.find(({ planned_services }) => planned_services !== null)?.planned_services ?? undefined;
    const chosen = () => (operation === 'deploy' ? oldServices : pickServices(pool, oldServices, random));
    const newServices = planned === undefined ? chosen() : textsOf(planned);
    await trx
      .updateTable('decky_lifecycle')
      .set({
        status: 'running',
        planned_services: JSON.stringify(newServices),
        claimed_by: claim,
        claim_expires_at: now + leaseMs,
        updated_at: isoTime(now),
      })
      .where('id', 'in', idsOf(open))
      .execute();
    const asked = open.find(({ trigger }) => trigger === 'operator') ?? open[0];
    const begun = open.filter(({ status }) => status === 'pending');
    await appendToOutbox(
      trx,
      begun.map((request) => lifecycleEvent(request, 'running', now)),
    );
    return {
      claim,
      decky,
      operation,
      oldServices,
      newServices,
      trigger: asked?.trigger ?? 'scheduled',
      actor: asked?.actor ?? null,
    };
  });
}

/**
 * Holds a claim for longer.
 * @param leaseMs 0 gives it back
 * @returns whether it is still this one's
 */
export async function renewClaim(db: Db, claim: string, now: number, leaseMs: number): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('decky_lifecycle')
    .set({ claim_expires_at: now + leaseMs })
    .where('claimed_by', '=', claim)
    .where('status', '=', 'running')
    .executeTakeFirstOrThrow();
  return numUpdatedRows > 0n;
}

/**
 * Records how it went: the decky, its requests and their events are one transaction.
 * @param fleetIntervalMs for a decky without an interval of its own; `null` leaves it alone
 * @returns false when the claim had expired and another node has taken over
 */
export function finishRotation(
  db: Db,
  rotation: Rotation,
  outcome: Outcome,
  now: number,
  fleetIntervalMs: number | null,
): Promise<boolean> {
  const { claim, decky } = rotation;
  return db.transaction().execute(async (trx) => {
    const fresh = await lockDecky(trx, decky.name);
    const mine = (await openRequests(trx, decky.name)).filter(({ claimed_by }) => claimed_by === claim);
    if (mine.length === 0) return false;
    if (fresh === undefined) {
      await appendToOutbox(trx, await closeRequests(trx, mine, now, `Decky ${decky.name} not found`));
      return true;
    }
    const state = outcome.kind === 'succeeded' ? 'running' : outcome.state;
    const services = outcome.kind === 'succeeded' ? renewed(rotation, fresh, now, fleetIntervalMs) : {};
    await trx
      .updateTable('fleet_deckies')
      .set({ state, updated_at: isoTime(now), ...services })
      .where('name', '=', decky.name)
      .execute();
    await forgetOld(trx, now);
    await appendToOutbox(trx, [
      ...(fresh.state === state ? [] : [fleetStateEvent(fresh, state, 'state_changed', now)]),
      ...(outcome.kind === 'succeeded' && rotation.operation === 'mutate' ? [mutationEvent(rotation, now)] : []),
      ...(await closeRequests(trx, mine, now, outcome.kind === 'succeeded' ? null : outcome.error)),
    ]);
    return true;
  });
}

/** The interval may have been changed meanwhile: the fresh one counts. */
function renewed(rotation: Rotation, fresh: FleetDeckyRow, now: number, fleetIntervalMs: number | null) {
  const interval = intervalOf(fresh.mutate_interval, fleetIntervalMs);
  return {
    services: JSON.stringify(rotation.newServices),
    service_config: JSON.stringify(configsOfServices(configsIn(fresh), rotation.newServices)),
    last_mutated_at: isoTime(now),
    next_due_at: interval === null ? null : isoTime(now + interval),
  };
}

/** Those of deckies that have gone, too. */
export async function forgetOld(trx: Trx, now: number): Promise<void> {
  await trx
    .deleteFrom('decky_lifecycle')
    .where('status', 'in', ['succeeded', 'failed'])
    .where('completed_at', '<', isoTime(now - KEEP_MS))
    .execute();
}

/** Whoever takes or gives back the requests of a decky, or changes it, holds its row: no two do so at once. */
export function lockDecky(trx: Trx, name: string): Promise<FleetDeckyRow | undefined> {
  return lockRow(trx, 'fleet_deckies', { name });
}

/** Whether some node is at it, or has yet to write what it did. */
export async function isBeingRotated(trx: Trx, name: string, now: number): Promise<boolean> {
  return (await openRequests(trx, name)).some(({ claim_expires_at }) => (claim_expires_at ?? 0) > now);
}

export function openRequests(trx: Trx, name: string): Promise<DeckyLifecycleRow[]> {
  return trx
    .selectFrom('decky_lifecycle')
    .selectAll()
    .where('decky_name', '=', name)
    .where('status', 'in', OPEN)
    .orderBy('started_at')
    .orderBy('id')
    .execute();
}

/** @returns the events that tell it */
export async function closeRequests(
  trx: Trx,
  requests: readonly DeckyLifecycleRow[],
  now: number,
  problem: string | null,
): Promise<Event[]> {
  // PostgreSQL knows no empty list.
  if (requests.length === 0) return [];
  const status = problem === null ? 'succeeded' : 'failed';
  // PostgreSQL's text holds no NUL, and the cut must not leave half a character.
  const error = problem?.replaceAll('\0', '').slice(0, MAX_ERROR).toWellFormed() ?? null;
  const at = isoTime(now);
  const closed = await trx
    .updateTable('decky_lifecycle')
    .set({ status, error, updated_at: at, completed_at: at, claim_expires_at: null })
    .where('id', 'in', idsOf(requests))
    // Without a decky there was no row to hold: another node may have been here.
    .where('status', 'in', OPEN)
    .returningAll()
    .execute();
  return closed.map((request) => lifecycleEvent(request, status, now, error));
}

function lifecycleEvent(
  { id, decky_name, operation }: DeckyLifecycleRow,
  status: 'running' | 'succeeded' | 'failed',
  now: number,
  error: string | null = null,
): Event {
  const payload = { lifecycle_id: id, operation, status, ...(error === null ? {} : { error }) };
  return createEvent(topics.deckyLifecycle(decky_name), 'lifecycle', payload, undefined, now);
}

function mutationEvent({ decky, oldServices, newServices, trigger, actor }: Rotation, now: number): Event {
  const payload = {
    decky: decky.name,
    old_services: oldServices,
    new_services: newServices,
    trigger,
    ...(actor === null ? {} : { actor }),
  };
  return createEvent(topics.deckyMutation(decky.name), 'mutation', payload, undefined, now);
}

const idsOf = (requests: readonly DeckyLifecycleRow[]) => requests.map(({ id }) => id);
