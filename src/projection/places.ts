import { sql } from 'kysely';
import type { LogPlace } from '../bus/log-history.ts';
import type { Db, Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import { keepFirst, removeSome } from '../db/remove-some.ts';
import type { ProjectionEventsTable, ProjectionRow } from '../db/schema.ts';
import type { Projection } from './projection.ts';

/** Where a projection stands, as it is committed. */
export interface Standing extends LogPlace {
  readonly alignedUntil: number;
  readonly eventTs: number | null;
  readonly counted: number;
}

/** History that was gone before a projection had read it. */
export interface Gap {
  readonly epoch: string;
  /** Offsets of the log that are missing; `to` is absent where nobody knows how many there were. */
  readonly from: number;
  readonly to?: number;
  readonly noticed_at: string;
}

/** Somebody else leads, or has rebuilt the projection: what was read has to be read again from where it stands now. */
export class FencedOff extends Error {
  constructor(name: string) {
    super(`projection ${name} was moved on by somebody else`);
    this.name = 'FencedOff';
  }
}

const NOTHING = { epoch: '', log_offset: 0, proof: '0', aligned_until: 0, event_ts: null } as const;
const NO_COUNTS = { counted: 0, skipped: 0, repeated: 0, set_aside: 0, gaps: 0, last_gap: null } as const;

/** The row of a projection; made when it has none. */
export async function findStanding(db: Db, { name, version }: Projection): Promise<ProjectionRow> {
  const row = await db.selectFrom('projections').selectAll().where('name', '=', name).executeTakeFirst();
  if (row !== undefined) return row;
  await db
    .insertInto('projections')
    .values({ name, version, ...NOTHING })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  return db.selectFrom('projections').selectAll().where('name', '=', name).executeTakeFirstOrThrow();
}

export function standingOf(row: ProjectionRow): Standing {
  const { epoch, log_offset: offset, proof, aligned_until: alignedUntil, event_ts: eventTs, counted } = row;
  return { epoch, offset, proof, alignedUntil, eventTs, counted };
}

/**
 * Moves a projection on, if it still stands where it was found: of two leaders only one commits.
 * @throws {FencedOff}
 */
export async function moveOn(trx: Trx, { name, version }: Projection, from: Standing, to: Standing): Promise<void> {
  const { numUpdatedRows } = await trx
    .updateTable('projections')
    .set({
      epoch: to.epoch,
      log_offset: to.offset,
      proof: to.proof,
      aligned_until: to.alignedUntil,
      event_ts: to.eventTs,
    })
    .where('name', '=', name)
    .where('version', '=', version)
    // What is written now would be removed with the rest.
    .where('clearing', '=', 0)
    .where('epoch', '=', from.epoch)
    .where('log_offset', '=', from.offset)
    .where('proof', '=', from.proof)
    .where('counted', '=', from.counted)
    .executeTakeFirst();
  if (numUpdatedRows !== 1n) throw new FencedOff(name);
}

/** Adds to what a projection has counted. */
export async function addCounts(
  trx: Trx,
  name: string,
  add: { counted: number; skipped: number; repeated: number; set_aside: number },
): Promise<void> {
  await trx
    .updateTable('projections')
    .set((eb) => ({
      counted: eb('counted', '+', add.counted),
      skipped: eb('skipped', '+', add.skipped),
      repeated: eb('repeated', '+', add.repeated),
      set_aside: eb('set_aside', '+', add.set_aside),
    }))
    .where('name', '=', name)
    .execute();
}

/** Notes that history is missing. */
export async function noteGap(trx: Trx, name: string, gap: Gap): Promise<void> {
  await trx
    .updateTable('projections')
    .set((eb) => ({ gaps: eb('gaps', '+', 1), last_gap: JSON.stringify(gap) }))
    .where('name', '=', name)
    .execute();
}

/** How far a projection came in an epoch, and up to where it has forgotten the ids of events; zeros for a new epoch. */
export async function findEpoch(
  trx: Trx,
  name: string,
  epoch: string,
): Promise<{ reached: number; forgotten: number }> {
  const row = await trx
    .selectFrom('projection_epochs')
    .select(['reached', 'forgotten'])
    .where('projection', '=', name)
    .where('epoch', '=', epoch)
    .executeTakeFirst();
  return row ?? { reached: 0, forgotten: 0 };
}

/** Notes how far a projection came in an epoch; both numbers only rise. */
export async function raiseEpoch(
  trx: Trx,
  projection: string,
  epoch: string,
  { reached = 0, forgotten = 0 }: { reached?: number; forgotten?: number },
): Promise<void> {
  const higher = (column: 'reached' | 'forgotten', value: number) =>
    sql<number>`case when ${sql.ref(`projection_epochs.${column}`)} < ${value}
      then ${value} else ${sql.ref(`projection_epochs.${column}`)} end`;
  await trx
    .insertInto('projection_epochs')
    .values({ projection, epoch, reached, forgotten })
    .onConflict((conflict) =>
      conflict
        .columns(['projection', 'epoch'])
        .doUpdateSet({ reached: higher('reached', reached), forgotten: higher('forgotten', forgotten) }),
    )
    .execute();
}

/** Notes where the projection stands in channels. */
export async function moveInChannels(
  trx: Trx,
  projection: string,
  places: ReadonlyMap<string, { readonly offset: number; readonly proof: string }>,
): Promise<void> {
  if (places.size === 0) return;
  const rows = [...places].map(([channel, { offset: channel_offset, proof }]) => ({
    projection,
    channel,
    channel_offset,
    proof,
  }));
  await trx
    .insertInto('projection_places')
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(['projection', 'channel']).doUpdateSet((eb) => ({
        channel_offset: eb.ref('excluded.channel_offset'),
        proof: eb.ref('excluded.proof'),
      })),
    )
    .execute();
}

/** Forgets where the projection stands in channels: its numbers are those of another log. */
export async function forgetChannels(trx: Trx, projection: string): Promise<void> {
  await trx.deleteFrom('projection_places').where('projection', '=', projection).execute();
}

const EVENTS = {
  table: 'projection_events',
  columns: { projection: 'text', event_id: 'text', ordinal: 'bigint', epoch: 'text', log_offset: 'bigint' },
} as const;

/**
 * Remembers events by their ids.
 * @returns the ids that were not known before
 */
export async function rememberEvents(
  trx: Trx,
  engine: Engine,
  events: readonly ProjectionEventsTable[],
): Promise<Set<string>> {
  const known = sql`on conflict (projection, event_id) do nothing returning event_id`;
  const rows = await insertRows<{ event_id: string }>(trx, engine, EVENTS, events, known);
  return new Set(rows.map(({ event_id }) => event_id));
}

/** Numbers events that are remembered in the order in which they are counted, from `counted + 1` on. */
export async function renumberEvents(
  trx: Trx,
  projection: string,
  events: readonly { readonly id: string }[],
  counted: number,
): Promise<void> {
  for (const [index, { id }] of events.entries()) {
    await trx
      .updateTable('projection_events')
      .set({ ordinal: counted + index + 1 })
      .where('projection', '=', projection)
      .where('event_id', '=', id)
      .execute();
  }
}

/** Forgets the oldest ids, and notes up to where it did. */
export async function forgetEvents(trx: Trx, projection: string, upToOrdinal: number): Promise<void> {
  const rows = await trx
    .deleteFrom('projection_events')
    .where('projection', '=', projection)
    .where('ordinal', '<=', upToOrdinal)
    .returning(['epoch', 'log_offset'])
    .execute();
  const newest = new Map<string, number>();
  for (const { epoch, log_offset } of rows) newest.set(epoch, Math.max(newest.get(epoch) ?? 0, log_offset));
  for (const [epoch, forgotten] of newest) await raiseEpoch(trx, projection, epoch, { forgotten });
}

/** Events set aside that are kept, of each projection; how many there were is counted. */
const MOST_SET_ASIDE = 1000;
const SET_ASIDE = { table: 'projection_set_aside', key: ['projection', 'event_id'] } as const;

/** Forgets all but the newest events that were set aside. */
export async function forgetSetAside(trx: Trx, projection: string): Promise<void> {
  const rows = { ...SET_ASIDE, only: sql<boolean>`projection = ${projection}` };
  await keepFirst(trx, rows, sql`set_aside_at desc, event_id desc`, MOST_SET_ASIDE);
}

/**
 * Sets a projection back to before the first event, and marks its rows as being removed: from here on nobody moves it, nobody
 * takes its rows for those of a place, and whoever leads removes what is left of them ({@link removeBookkeeping} with them).
 */
export async function beginClearing(trx: Trx, { name, version }: Projection): Promise<void> {
  const begun = { version, ...NOTHING, ...NO_COUNTS, clearing: 1 } as const;
  await trx
    .insertInto('projections')
    .values({ name, ...begun })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(begun))
    .execute();
  await trx.deleteFrom('projection_places').where('projection', '=', name).execute();
}

/** Marks the rows of a projection as being removed; its place and what it remembers of the log stay. */
export async function beginPurge(trx: Trx, { name }: Projection): Promise<void> {
  await trx.updateTable('projections').set({ clearing: 2 }).where('name', '=', name).execute();
}

/** Its rows are gone: the log can be read on from where it stands. */
export async function endClearing(trx: Trx, { name }: Projection): Promise<void> {
  await trx.updateTable('projections').set({ clearing: 0 }).where('name', '=', name).execute();
}

const BOOKKEEPING = [
  { table: 'projection_events', key: ['projection', 'event_id'] },
  SET_ASIDE,
  { table: 'projection_epochs', key: ['projection', 'epoch'] },
] as const;

/** Removes some of what a projection remembers of the log. @returns whether there may be more */
export function removeBookkeeping(trx: Trx, projection: string, most: number): Promise<boolean> {
  const only = sql<boolean>`projection = ${projection}`;
  return removeSome(
    trx,
    BOOKKEEPING.map((rows) => ({ ...rows, only })),
    most,
  );
}
