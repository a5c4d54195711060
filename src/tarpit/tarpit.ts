import type { ExpressionBuilder } from 'kysely';
import { createEvent, type Event } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import { lockRow } from '../db/row-lock.ts';
import type { Database, TarpitRow } from '../db/schema.ts';
import { AppError } from '../errors.ts';

/** A decky of a topology, or of the fleet where that is null. */
export interface TarpitKey {
  readonly topologyId: string | null;
  readonly decky: string;
}

export interface TarpitRule {
  readonly ports: readonly number[];
  /** How long whoever connects is kept waiting, in milliseconds. */
  readonly delayMs: number;
}

/** As `GET …/tarpit` shows it (contract P2.4). Nobody here watches the connections themselves. */
export function tarpitOnWire(decky_name: string, { id, ports, delay_ms, created_at, created_by }: TarpitRow) {
  return {
    rule: { id, decky_name, ports: JSON.parse(ports), delay_ms, created_at, created_by },
    active_connections: [],
  };
}

/**
 * @throws {AppError} `not_found` for a decky that is not there, or one without a rule
 */
export function findTarpit(db: Db, key: TarpitKey): Promise<TarpitRow> {
  return db.transaction().execute(async (trx) => {
    const place = await placeOf(trx, key);
    const row = await trx.selectFrom('tarpits').selectAll().where(isAt(place)).executeTakeFirst();
    if (row === undefined) throw new AppError('not_found', `Decky ${key.decky} has no tarpit`);
    return row;
  });
}

/**
 * Records that ports of a decky keep callers waiting. It is a state: whoever shapes the traffic reads it, or its event.
 * @param actor the user who sets it
 * @throws {AppError} `not_found`; `conflict` when the decky has a rule already
 */
export function setTarpit(db: Db, key: TarpitKey, { ports, delayMs }: TarpitRule, actor: string): Promise<void> {
  const now = Date.now();
  return db.transaction().execute(async (trx) => {
    const added = await trx
      .insertInto('tarpits')
      .values({
        id: crypto.randomUUID(),
        ...(await placeOf(trx, key)),
        ports: JSON.stringify(ports),
        delay_ms: delayMs,
        created_at: new Date(now).toISOString(),
        created_by: actor,
      })
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .executeTakeFirst();
    if (added === undefined) throw new AppError('conflict', `Decky ${key.decky} has a tarpit; remove it first`);
    await appendToOutbox(trx, [
      changed(key, 'tarpit_enabled', now, { ports: ports.join(','), delay_ms: `${delayMs}` }),
    ]);
  });
}

/** @returns whether there was one @throws {AppError} `not_found` for a decky that is not there */
export function removeTarpit(db: Db, key: TarpitKey): Promise<boolean> {
  return db.transaction().execute(async (trx) => {
    const place = await placeOf(trx, key);
    const removed = await trx.deleteFrom('tarpits').where(isAt(place)).returning('id').executeTakeFirst();
    if (removed === undefined) return false;
    await appendToOutbox(trx, [changed(key, 'tarpit_disabled', Date.now(), {})]);
    return true;
  });
}

/** The line of the log that DECNET writes for it (contract P2.4), as a collector would tell it. */
function changed(key: TarpitKey, type: string, now: number, fields: Readonly<Record<string, string>>): Event {
  const { decky, topologyId } = key;
  return createEvent(
    topics.system('log'),
    type,
    {
      decky,
      service: 'tarpit',
      event_type: type,
      attacker_ip: '0.0.0.0',
      timestamp: new Date(now).toISOString(),
      ...(topologyId === null ? {} : { topology_id: topologyId }),
      fields,
    },
    undefined,
    now,
  );
}

/** Of the two one is null: a decky of a topology does not collide with one of the fleet that has its name. */
type Place = Pick<TarpitRow, 'decky_uuid' | 'fleet_decky'>;

const isAt =
  ({ decky_uuid, fleet_decky }: Place) =>
  (eb: ExpressionBuilder<Database, 'tarpits'>) =>
    decky_uuid === null ? eb('fleet_decky', '=', fleet_decky) : eb('decky_uuid', '=', decky_uuid);

/**
 * Locks the decky's row until the transaction ends: it stays there.
 * @throws {AppError} `not_found`
 */
async function placeOf(trx: Trx, { topologyId, decky }: TarpitKey): Promise<Place> {
  if (topologyId === null) {
    const row = await lockRow(trx, 'fleet_deckies', { name: decky });
    if (row !== undefined) return { decky_uuid: null, fleet_decky: row.name };
  } else {
    const row = await lockRow(trx, 'topology_deckies', { topology_id: topologyId, name: decky });
    if (row !== undefined) return { decky_uuid: row.uuid, fleet_decky: null };
  }
  throw new AppError('not_found', `Decky ${decky} not found`);
}
