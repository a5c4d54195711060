import { appendToOutbox } from '../bus/outbox.ts';
import { TopicError } from '../bus/topic.ts';
import { type Db, readConsistently, type Trx } from '../db/database.ts';
import { AppError, describeError } from '../errors.ts';
import type { Substrate, SubstrateDecky } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { lockTopology } from '../topology/lock.ts';
import { LIVE_STATUSES } from '../topology/model.ts';
import { runningDecky } from '../topology/ops/substrate-actions.ts';
import { isStorable } from '../topology/repository.ts';
import { type DeckyState, deckyNamed, loadState, saveState, type TopologyState } from '../topology/state.ts';
import type { ServiceEdit } from './service-edit.ts';

export interface LiveServiceParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly log: Log;
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

/** How often an edit is planned anew because others changed the same decky meanwhile. */
const MAX_ATTEMPTS = 5;

/**
 * Changes the services of a decky that runs: first in the substrate, outside any transaction, then the row together with
 * its event, provided that they still come to what the substrate has been given. What fails leaves the row untouched and
 * the substrate, as far as possible, as the row says.
 * @returns the decky as it is now
 * @throws {AppError} `not_found`; `conflict` when the topology is not live, when the edit refuses, or when others keep
 *   changing the decky; `unavailable` when the substrate fails
 */
export async function editServices(parts: LiveServiceParts, key: DeckyKey, edit: ServiceEdit): Promise<DeckyState> {
  let isTouched = false;
  try {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const plan = await readConsistently(parts.db, (trx) => planEdit(trx, key, edit));
      if (concernsSubstrate(plan, edit)) {
        isTouched = true;
        await bringAbout(parts.substrate, plan, edit);
      }
      const decky = await commitEdit(parts.db, key, edit, plan);
      if (decky === undefined) continue;
      parts.onCommitted();
      return decky;
    }
    throw new AppError('conflict', `Others keep changing decky ${key.name}; try again`);
  } catch (error) {
    if (isTouched) await bringBack(parts, key);
    throw error;
  }
}

async function planEdit(trx: Trx, { topologyId, name }: DeckyKey, edit: ServiceEdit): Promise<Plan> {
  const before = isStorable(topologyId) ? await loadState(trx, topologyId) : undefined;
  if (before === undefined) throw new AppError('not_found', 'Topology not found');
  const was = deckyNamed(before, name);
  if (was === undefined) throw new AppError('not_found', `Decky ${name} not found`);
  if (!LIVE_STATUSES.includes(before.topology.status)) {
    const live = LIVE_STATUSES.join(' or ');
    throw new AppError('conflict', `The topology is ${before.topology.status}; its services change only while ${live}`);
  }
  const decky = edit.apply(was);
  assertTellable(edit, decky);
  const deckies = before.deckies.map((other) => (other === was ? decky : other));
  const running = { before: runningDecky(before, was), after: runningDecky(before, decky) };
  return { before, after: { ...before, deckies }, decky, running };
}

/** Before anything happens: names come from mutations too, which take any text. */
function assertTellable(edit: ServiceEdit, decky: DeckyState): void {
  try {
    edit.event(decky);
  } catch (error) {
    if (error instanceof TopicError) throw new AppError('conflict', error.message);
    throw error;
  }
}

/** What an agent on another host runs is not this substrate's; what it would not notice need not be asked for. */
function concernsSubstrate({ before: { topology }, running }: Plan, edit: ServiceEdit): boolean {
  return topology.mode !== 'agent' && (edit.recreates || !Bun.deepEquals(running.before, running.after));
}

async function bringAbout(substrate: Substrate, { decky, running }: Plan, edit: ServiceEdit): Promise<void> {
  try {
    if (edit.recreates) await substrate.removeDecky(running.after);
    await substrate.ensureDecky(running.after);
  } catch (error) {
    throw new AppError('unavailable', `Decky ${decky.name} stays as it was: ${describeError(error)}`);
  }
}

/** @returns the decky; `undefined` when the edit would no longer come to what the substrate has been given */
function commitEdit(db: Db, key: DeckyKey, edit: ServiceEdit, plan: Plan): Promise<DeckyState | undefined> {
  return db.transaction().execute(async (trx) => {
    await lockTopology(trx, key.topologyId);
    const fresh = await planEdit(trx, key, edit);
    if (!Bun.deepEquals(fresh.running.after, plan.running.after)) return undefined;
    await saveState(trx, fresh.before, fresh.after, Date.now());
    await appendToOutbox(trx, [edit.event(fresh.decky)]);
    return fresh.decky;
  });
}

/** Gives the substrate what the row says. The edit has failed already: what fails here is only logged. */
async function bringBack({ db, substrate, log }: LiveServiceParts, key: DeckyKey): Promise<void> {
  try {
    let given: SubstrateDecky | undefined;
    // Others may have changed the row while the substrate was being given the one from before.
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const recorded = await readConsistently(db, (trx) => recordedDecky(trx, key));
      if (recorded === undefined || Bun.deepEquals(recorded, given)) return;
      await substrate.ensureDecky(recorded);
      given = recorded;
    }
  } catch (error) {
    log.warn('a decky could not be brought back', {
      topology: key.topologyId,
      decky: key.name,
      error: describeError(error),
    });
  }
}

/** @returns `undefined` when the row says nothing of what should run */
async function recordedDecky(trx: Trx, { topologyId, name }: DeckyKey): Promise<SubstrateDecky | undefined> {
  const state = await loadState(trx, topologyId);
  const decky = state && deckyNamed(state, name);
  if (state === undefined || decky === undefined) return undefined;
  return LIVE_STATUSES.includes(state.topology.status) ? runningDecky(state, decky) : undefined;
}
