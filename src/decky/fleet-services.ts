import { appendToOutbox } from '../bus/outbox.ts';
import type { Trx } from '../db/database.ts';
import type { FleetDeckyRow } from '../db/schema.ts';
import { AppError, describeError } from '../errors.ts';
import { claimThing, type Hold, WAIT_MS } from '../substrate/claim.ts';
import { ClaimLost, fleetThing } from '../substrate/substrate.ts';
import { configsIn, isoTime, onSubstrate, substrateId, textsOf } from './fleet.ts';
import type { LiveServiceParts } from './live-services.ts';
import { isBeingRotated, lockDecky } from './rotation-claim.ts';
import type { Configured, ServiceEdit } from './service-edit.ts';

/** How often an edit is planned anew because the decky changed meanwhile. */
const MAX_ATTEMPTS = 5;

/**
 * Changes the services of a fleet decky: first in the substrate, then the row together with its event. Nobody else changes
 * what runs of the decky meanwhile. What fails leaves the row untouched and the substrate, as far as possible, as it says.
 * @returns the decky as it is now
 * @throws {AppError} `invalid` without a fleet; `not_found`; `conflict` when the edit refuses, would leave no service, or
 *   others change the decky; `unavailable` when the substrate fails
 */
export async function editFleetServices(parts: LiveServiceParts, name: string, edit: ServiceEdit): Promise<Configured> {
  const { row, after } = planFor(await findDecky(parts, name), edit);
  // Nobody in the substrate sees a configuration that is only stored.
  if (!edit.recreates && Bun.deepEquals(textsOf(row.services), after.services)) {
    const stored = await commit(parts, row, edit);
    if (stored !== undefined) return stored;
  }
  const claim = await claimThing(parts.substrate, parts.db, fleetThing(substrateId(row)), { waitMs: WAIT_MS });
  if (claim === undefined) throw beingChanged(name);
  try {
    return await editUnder(claim, parts, name, edit);
  } catch (error) {
    if (error instanceof ClaimLost) throw beingChanged(name);
    throw error;
  } finally {
    await claim.release();
  }
}

async function editUnder(claim: Hold, parts: LiveServiceParts, name: string, edit: ServiceEdit): Promise<Configured> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    // Only now nobody else can change what runs.
    const { row, after } = planFor(await findDecky(parts, name), edit);
    await applyToSubstrate(parts, row, after, edit, claim);
    const done = await commit(parts, row, edit, claim).catch(async (error: unknown) => {
      if (!(error instanceof ClaimLost)) await bringBack(parts, row, claim);
      throw error;
    });
    if (done !== undefined) return done;
  }
  throw beingChanged(name);
}

async function applyToSubstrate(
  parts: LiveServiceParts,
  row: FleetDeckyRow,
  after: Configured,
  edit: ServiceEdit,
  claim: Hold,
): Promise<void> {
  const { substrate } = parts;
  try {
    const wanted = onSubstrate(row, after.services);
    if (edit.recreates) await substrate.removeDecky(wanted, claim);
    await substrate.ensureDecky(wanted, claim);
  } catch (error) {
    if (error instanceof ClaimLost) throw error;
    await bringBack(parts, row, claim);
    throw new AppError('unavailable', `Decky ${row.name} stays as it was: ${describeError(error)}`);
  }
}

/** The edit has failed already: what fails here is only logged. */
async function bringBack({ substrate, logger }: LiveServiceParts, row: FleetDeckyRow, claim: Hold): Promise<void> {
  try {
    await substrate.ensureDecky(onSubstrate(row, textsOf(row.services)), claim);
  } catch (error) {
    logger.warn('a decky could not be brought back', { decky: row.name, error: describeError(error) });
  }
}

/**
 * @param claim under which the substrate has been given something
 * @returns `undefined` when the services are others by now than those that the substrate was changed from
 */
async function commit(
  { db, onCommitted }: LiveServiceParts,
  planned: FleetDeckyRow,
  edit: ServiceEdit,
  claim?: Hold,
): Promise<Configured | undefined> {
  const done = await db.transaction().execute(async (trx) => {
    const fresh = await lockDecky(trx, planned.name);
    if (fresh === undefined) throw await missing(trx, planned.name);
    if (claim !== undefined) {
      await claim.holdIn(trx);
      // A rotation that has let go of the substrate may yet have to write what it has put there.
      if (await isBeingRotated(trx, fresh.name, Date.now())) throw beingChanged(fresh.name);
      if (fresh.services !== planned.services) return undefined;
    }
    const { after } = planFor(fresh, edit);
    await trx
      .updateTable('fleet_deckies')
      .set({
        services: JSON.stringify(after.services),
        service_config: JSON.stringify(after.configs),
        updated_at: isoTime(Date.now()),
      })
      .where('name', '=', fresh.name)
      .execute();
    await appendToOutbox(trx, [edit.event(after)]);
    return after;
  });
  if (done !== undefined) onCommitted();
  return done;
}

function planFor(row: FleetDeckyRow, edit: ServiceEdit): { row: FleetDeckyRow; after: Configured } {
  const before = { name: row.name, topology_id: null, services: textsOf(row.services), configs: configsIn(row) };
  const after = edit.apply(before);
  // DECNET takes it, and can then not read its own fleet any more (contract P2.2).
  if (after.services.length === 0) {
    throw new AppError('conflict', `${row.name} would have no service left; remove the decky instead`);
  }
  return { row, after };
}

async function findDecky({ db }: Pick<LiveServiceParts, 'db'>, name: string): Promise<FleetDeckyRow> {
  const row = await db.selectFrom('fleet_deckies').selectAll().where('name', '=', name).executeTakeFirst();
  if (row === undefined) throw await missing(db, name);
  return row;
}

async function missing(db: LiveServiceParts['db'] | Trx, name: string): Promise<AppError> {
  const any = await db.selectFrom('fleet_deckies').select('name').limit(1).executeTakeFirst();
  if (any === undefined) return new AppError('invalid', 'No active deployment: there is no fleet');
  return new AppError('not_found', `Decky ${name} not found`);
}

const beingChanged = (name: string) => new AppError('conflict', `Decky ${name} is being changed by others; try again`);
