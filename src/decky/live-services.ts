import { isJsonObject } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { type Db, readConsistently, type Trx } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError, describeError } from '../errors.ts';
import { claimThing, type Hold, WAIT_MS } from '../substrate/claim.ts';
import { ClaimLost, type Fence, type Substrate, type SubstrateDecky } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { lockTopology } from '../topology/lock.ts';
import { LIVE_STATUSES } from '../topology/model.ts';
import { runningDecky } from '../topology/ops/substrate-actions.ts';
import { type DeckyState, deckyNamed, loadState, saveState, type TopologyState } from '../topology/state.ts';
import type { Configured, ServiceEdit } from './service-edit.ts';

export interface LiveServiceParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
  /** Called after each commit that left an event in the outbox: wakes the relay. */
  onCommitted(): void;
}

/** The decky that an edit is about. */
export interface DeckyKey {
  readonly topologyId: string;
  readonly name: string;
}

/** What an edit comes to when it is applied to a state of the database. */
interface Plan {
  readonly before: TopologyState;
  readonly after: TopologyState;
  readonly decky: DeckyState;
  readonly running: { readonly before: SubstrateDecky; readonly after: SubstrateDecky };
}

/** How often an edit is planned anew because the decky changed meanwhile. */
const MAX_ATTEMPTS = 5;

/** Somebody is at work on what runs, and has read what it shall be. */
const IN_TRANSITION: readonly string[] = ['deploying', 'tearing_down'];

/**
 * Changes the services of a decky: where it runs, first in the substrate, outside any transaction, then the row together
 * with its event, provided that they still come to what the substrate has been given. Nobody else changes what runs of the
 * topology meanwhile. What fails leaves the row untouched and the substrate, as far as possible, as the row says.
 * @returns the decky as it is now
 * @throws {AppError} `not_found`; `conflict` when the topology is between two states, when the edit refuses, or when others
 *   keep changing it; `unavailable` when the substrate fails
 */
export async function editServices(parts: LiveServiceParts, key: DeckyKey, edit: ServiceEdit): Promise<Configured> {
  return configuredOf(await editDecky(parts, key, edit));
}

async function editDecky(parts: LiveServiceParts, key: DeckyKey, edit: ServiceEdit): Promise<DeckyState> {
  // What the substrate does not notice needs nobody's leave.
  const plan = await planNow(parts.db, key, edit);
  const decky = concernsSubstrate(plan, edit) ? undefined : await commitEdit(parts.db, key, edit, plan);
  if (decky === undefined) return editUnderClaim(parts, key, edit);
  parts.onCommitted();
  return decky;
}

async function editUnderClaim(parts: LiveServiceParts, key: DeckyKey, edit: ServiceEdit): Promise<DeckyState> {
  const claim = await claimThing(parts.substrate, parts.db, key.topologyId, { waitMs: WAIT_MS });
  if (claim === undefined) throw new AppError('conflict', 'The topology is being changed by others; try again');
  try {
    return await editUnder(claim, parts, key, edit).finally(() => claim.release());
  } catch (error) {
    await bringBack(parts, key);
    if (!(error instanceof ClaimLost)) throw error;
    throw new AppError('conflict', `Decky ${key.name} stays as it was: others have changed its topology; try again`);
  }
}

async function editUnder(
  claim: Hold,
  { db, substrate, onCommitted }: LiveServiceParts,
  key: DeckyKey,
  edit: ServiceEdit,
): Promise<DeckyState> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const plan = await planNow(db, key, edit);
    if (concernsSubstrate(plan, edit)) await applyToSubstrate(substrate, plan, edit, claim);
    const decky = await commitEdit(db, key, edit, plan, claim);
    if (decky === undefined) continue;
    onCommitted();
    return decky;
  }
  throw new AppError('conflict', `Others keep changing decky ${key.name}; try again`);
}

const planNow = (db: Db, key: DeckyKey, edit: ServiceEdit): Promise<Plan> =>
  readConsistently(db, (trx) => planEdit(trx, key, edit));

async function planEdit(trx: Trx, { topologyId, name }: DeckyKey, edit: ServiceEdit): Promise<Plan> {
  const before = isStorable(topologyId) ? await loadState(trx, topologyId) : undefined;
  if (before === undefined) throw new AppError('not_found', 'Topology not found');
  const was = deckyNamed(before, name);
  if (was === undefined) throw new AppError('not_found', `Decky ${name} not found`);
  const decky = applied(edit, was);
  const { status } = before.topology;
  if (IN_TRANSITION.includes(status) && !Bun.deepEquals(was.services, decky.services)) {
    throw new AppError('conflict', `The topology is ${status}; its services change again when that is done`);
  }
  const deckies = before.deckies.map((other) => (other === was ? decky : other));
  const running = { before: runningDecky(before, was), after: runningDecky(before, decky) };
  return { before, after: { ...before, deckies }, decky, running };
}

/**
 * What does not run, and what an agent on another host runs, is not this substrate's; what it would not notice need not be
 * asked for.
 */
function concernsSubstrate({ before: { topology }, running }: Plan, edit: ServiceEdit): boolean {
  if (topology.mode === 'agent' || !LIVE_STATUSES.includes(topology.status)) return false;
  return edit.recreates || !Bun.deepEquals(running.before, running.after);
}

function applied(edit: ServiceEdit, decky: DeckyState): DeckyState {
  const { services, configs } = edit.apply(configuredOf(decky));
  return { ...decky, services, decky_config: { ...decky.decky_config, service_config: configs } };
}

function configuredOf({ name, topology_id, services, decky_config }: DeckyState): Configured {
  const configs = isJsonObject(decky_config.service_config) ? decky_config.service_config : {};
  return { name, topology_id, services, configs };
}

async function applyToSubstrate(
  substrate: Substrate,
  { decky, running }: Plan,
  edit: ServiceEdit,
  fence: Fence,
): Promise<void> {
  try {
    if (edit.recreates) await substrate.removeDecky(running.after, fence);
    await substrate.ensureDecky(running.after, fence);
  } catch (error) {
    if (error instanceof ClaimLost) throw error;
    throw new AppError('unavailable', `Decky ${decky.name} stays as it was: ${describeError(error)}`);
  }
}

/**
 * @param claim under which the substrate has been given something
 * @returns the decky; `undefined` when the edit would no longer come to what the substrate has been given
 */
function commitEdit(
  db: Db,
  key: DeckyKey,
  edit: ServiceEdit,
  plan: Plan,
  claim?: Hold,
): Promise<DeckyState | undefined> {
  return db.transaction().execute(async (trx) => {
    await lockTopology(trx, key.topologyId);
    await claim?.holdIn(trx);
    const fresh = await planEdit(trx, key, edit);
    if (isOutdated(plan, fresh, edit, claim !== undefined)) return undefined;
    await saveState(trx, fresh.before, fresh.after, Date.now());
    await appendToOutbox(trx, [edit.event(configuredOf(fresh.decky))]);
    return fresh.decky;
  });
}

/** A topology that has come to life meanwhile wants in its substrate what was meant for a row only. */
function isOutdated(plan: Plan, fresh: Plan, edit: ServiceEdit, isClaimed: boolean): boolean {
  if (!isClaimed && concernsSubstrate(fresh, edit)) return true;
  return !Bun.deepEquals(fresh.running.after, plan.running.after);
}

/**
 * Gives the substrate what the row says, under a claim of its own: the edit's may be lost. The edit has failed already: what
 * fails here is only logged.
 */
async function bringBack({ db, substrate, logger }: LiveServiceParts, key: DeckyKey): Promise<void> {
  const fields = { topology: key.topologyId, decky: key.name };
  let claim: Hold | undefined;
  try {
    claim = await claimThing(substrate, db, key.topologyId, { waitMs: WAIT_MS });
    if (claim === undefined) throw new Error('others change the topology');
    const recorded = await readConsistently(db, (trx) => recordedDecky(trx, key));
    if (recorded !== undefined) await substrate.ensureDecky(recorded, claim);
  } catch (error) {
    logger.warn('a decky could not be brought back', { ...fields, error: describeError(error) });
  } finally {
    await claim?.release();
  }
}

/** @returns `undefined` when the row says nothing of what should run */
async function recordedDecky(trx: Trx, { topologyId, name }: DeckyKey): Promise<SubstrateDecky | undefined> {
  const state = await loadState(trx, topologyId);
  const decky = state && deckyNamed(state, name);
  if (state === undefined || decky === undefined) return undefined;
  return LIVE_STATUSES.includes(state.topology.status) ? runningDecky(state, decky) : undefined;
}
