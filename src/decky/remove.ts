import type { Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import type { Db, Trx } from '../db/database.ts';
import type { FleetDeckyRow } from '../db/schema.ts';
import { AppError, describeError } from '../errors.ts';
import { claimThing, type Hold, WAIT_MS } from '../substrate/claim.ts';
import { ClaimLost, FLEET, fleetThing, type Substrate } from '../substrate/substrate.ts';
import { findFleetDecky, fleetStateEvent, substrateId } from './fleet.ts';
import { closeRequests, lockDecky, openRequests } from './rotation-claim.ts';

export interface RemovalParts {
  readonly db: Db;
  readonly substrate: Substrate;
  /** Called after each commit that wrote to the outbox. */
  onCommitted(): void;
}

/**
 * Takes a decky out of the fleet: what runs of it first, then its row, with what waited for it.
 * @throws {AppError} `not_found`; `conflict` when others are changing it; `unavailable` when the substrate fails
 */
export async function removeFleetDecky(parts: RemovalParts, name: string): Promise<void> {
  const { db, substrate, onCommitted } = parts;
  const decky = await db.transaction().execute((trx) => findFleetDecky(trx, name));
  const claim = await claimThing(substrate, db, fleetThing(substrateId(decky)), { waitMs: WAIT_MS });
  if (claim === undefined) throw beingChanged(name);
  try {
    await takeDown(substrate, decky, claim);
    await db.transaction().execute(async (trx) => {
      const fresh = await lockDecky(trx, name);
      if (fresh === undefined) throw new AppError('not_found', `Decky ${name} not found`);
      await claim.holdIn(trx);
      await appendToOutbox(trx, await forgetDeckies(trx, [fresh], 'The decky was removed', Date.now()));
    });
  } catch (error) {
    if (error instanceof ClaimLost) throw beingChanged(name);
    throw error;
  } finally {
    await claim.release();
  }
  onCommitted();
}

/**
 * Deletes rows of the fleet with everything that hangs on them. Whoever is at work on one of them finds its claim gone, and
 * what still runs is the reconciler's to remove.
 * @param reason told to those who wait for something to be done to them
 * @param now milliseconds since the epoch
 * @returns the events that tell it
 */
export async function forgetDeckies(
  trx: Trx,
  rows: readonly FleetDeckyRow[],
  reason: string,
  now: number,
): Promise<Event[]> {
  const events: Event[] = [];
  for (const row of rows) {
    const open = await openRequests(trx, row.name);
    events.push(...(await closeRequests(trx, open, now, reason)), fleetStateEvent(row, 'torn_down', 'deleted', now));
    await trx.deleteFrom('fleet_deckies').where('name', '=', row.name).execute();
  }
  return events;
}

async function takeDown(substrate: Substrate, decky: FleetDeckyRow, claim: Hold): Promise<void> {
  try {
    await substrate.removeDecky({ topologyId: FLEET, uuid: substrateId(decky), name: decky.name }, claim);
  } catch (error) {
    if (error instanceof ClaimLost) throw error;
    throw new AppError('unavailable', `Decky ${decky.name} could not be taken down: ${describeError(error)}`);
  }
}

const beingChanged = (name: string) => new AppError('conflict', `Decky ${name} is being changed by others; try again`);
