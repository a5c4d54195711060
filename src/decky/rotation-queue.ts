import type { Db } from '../db/database.ts';
import type { FleetDeckyRow } from '../db/schema.ts';
import { isoTime, newRequest } from './fleet.ts';
import { intervalOf } from './rotation.ts';

/** A `decky.<name>.mutate_request` that was heard on the bus. */
export interface HeardRequest {
  readonly eventId: string;
  readonly name: string;
}

/** Names the rows that come of events, so that every node that hears one writes the same row (RFC 9562, version 5). */
const NAMESPACE = 'b7c8a2de-3f61-4d0c-9a53-1f0e6d2c8b47';

/**
 * Turns requests heard on the bus into rows: each once, however many nodes hear it and however late.
 * @returns the names that no fleet decky has
 */
export async function recordRequests(db: Db, heard: readonly HeardRequest[], now: number): Promise<string[]> {
  if (heard.length === 0) return [];
  return db.transaction().execute(async (trx) => {
    const wanted = [...new Set(heard.map(({ name }) => name))];
    const found = await trx
      .selectFrom('fleet_deckies')
      .select(['name', 'host_uuid'])
      .where('name', 'in', wanted)
      .execute();
    const deckies = new Map(found.map((decky) => [decky.name, decky]));
    const rows = heard.flatMap(({ eventId, name }) => {
      const decky = deckies.get(name);
      return decky ? [newRequest(decky, 'mutate', Bun.randomUUIDv5(eventId, NAMESPACE), 'operator', now)] : [];
    });
    if (rows.length > 0) {
      await trx
        .insertInto('decky_lifecycle')
        .values(rows)
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute();
    }
    return wanted.filter((name) => !deckies.has(name));
  });
}

/**
 * Queues a rotation of every decky that is due, and works out when each is due next.
 * @param fleetIntervalMs for deckies without an interval of their own; `null` leaves them alone
 * @returns milliseconds until the next is due; `undefined` when none ever is
 */
export async function queueDue(db: Db, fleetIntervalMs: number | null, now: number): Promise<number | undefined> {
  const overdue = await db
    .selectFrom('fleet_deckies')
    .selectAll()
    .where((eb) => eb.or([eb('next_due_at', 'is', null), eb('next_due_at', '<=', isoTime(now))]))
    .execute();
  for (const decky of overdue) await queueOne(db, decky, fleetIntervalMs, now);
  const { next } = await db
    .selectFrom('fleet_deckies')
    .select((eb) => eb.fn.min('next_due_at').as('next'))
    .executeTakeFirstOrThrow();
  return next === null ? undefined : Date.parse(next) - now;
}

/** Of several nodes that find a decky due, the first to move its due time on has queued it. */
async function queueOne(db: Db, decky: FleetDeckyRow, fleetIntervalMs: number | null, now: number): Promise<void> {
  const next = nextDue(decky, fleetIntervalMs, now);
  if (next === decky.next_due_at) return;
  await db.transaction().execute(async (trx) => {
    const { numUpdatedRows } = await trx
      .updateTable('fleet_deckies')
      .set({ next_due_at: next })
      .where('name', '=', decky.name)
      .where('next_due_at', 'is not distinct from', decky.next_due_at)
      .where('mutate_interval', 'is not distinct from', decky.mutate_interval)
      .executeTakeFirstOrThrow();
    // Neither one whose due time has only now been worked out, nor one that has lost its interval.
    if (numUpdatedRows === 0n || decky.next_due_at === null || next === null) return;
    const row = newRequest(decky, 'mutate', crypto.randomUUID(), 'scheduled', now);
    await trx.insertInto('decky_lifecycle').values(row).execute();
  });
}

/** A decky whose due time is unknown counts from its last rotation: a new interval may make it due at once. */
function nextDue(decky: FleetDeckyRow, fleetIntervalMs: number | null, now: number): string | null {
  const interval = intervalOf(decky.mutate_interval, fleetIntervalMs);
  if (interval === null) return null;
  const isFirst = decky.next_due_at === null && decky.last_mutated_at !== null;
  return isoTime((isFirst ? Date.parse(decky.last_mutated_at ?? '') : now) + interval);
}
