import { createEvent, type Event, isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import type { DeckyLifecycleRow, DeckyLifecycleTable, FleetDeckyRow } from '../db/schema.ts';
import { AppError } from '../errors.ts';
import { FLEET, type SubstrateDecky } from '../substrate/substrate.ts';
import { servicesOf } from '../topology/decky-config.ts';
import { intervalMs } from './rotation.ts';

const MINUTE_MS = 60_000;

/** A fleet decky as `GET /deckies` shows it (contract P2.1), with the id and the state that DECNET leaves out. */
export function fleetDeckyOf(row: FleetDeckyRow) {
  const { name, ip, hostname, distro, base_image, build_base, archetype, nmap_os, host_uuid, state } = row;
  const own = row.mutate_interval === null ? null : (intervalMs(row.mutate_interval) ?? null);
  return {
    uuid: `${host_uuid ?? 'local'}:${name}`,
    name,
    ip,
    services: textsOf(row.services),
    distro,
    base_image,
    build_base,
    hostname,
    archetype: archetype === '' ? null : archetype,
    service_config: configsIn(row),
    nmap_os,
    mutate_interval: own === null ? null : Math.round(own / MINUTE_MS),
    last_mutated: secondsOf(row.last_mutated_at),
    // Nobody records who has tried to sign in to a decky of the fleet.
    last_login_attempt: 0,
    host_uuid,
    state,
  };
}

/** Seconds since the epoch; 0 for never. */
const secondsOf = (time: string | null): number => (time === null ? 0 : Date.parse(time) / 1000);

/** A row of `GET /deckies/lifecycle` (contract §5.8). */
export function lifecycleOf(row: DeckyLifecycleRow) {
  const { id, decky_name, host_uuid, operation, status, error, started_at, updated_at, completed_at } = row;
  return { id, decky_name, host_uuid, operation, status, error, started_at, updated_at, completed_at };
}

/** A rotator looks for what waits at least every ten seconds, and keeps what it has taken. */
const LEFT_ALONE_MS = 60_000;
const NOBODY_THERE = 'Nobody has taken it up: no process with the role rotator is at work. It is done when one is';

/** The strings of a JSON list, as the columns of services hold them. */
export const textsOf = (json: string): readonly string[] => servicesOf({ services: json });

/** Service → its configuration. */
export function configsIn({ service_config }: Pick<FleetDeckyRow, 'service_config'>): JsonObject {
  const stored: Json = JSON.parse(service_config);
  return isJsonObject(stored) ? stored : {};
}

/** Deckies of the fleet have no LANs: the substrate's default network is theirs. */
export function onSubstrate(
  decky: Pick<FleetDeckyRow, 'name' | 'host_uuid'>,
  services: readonly string[],
): SubstrateDecky {
  const { name } = decky;
  return { topologyId: FLEET, uuid: substrateId(decky), name, services, addresses: [], forwardsL3: false };
}

/** What a substrate and the topics of states call a fleet decky: names are unique on a host only. */
export const substrateId = ({ name, host_uuid }: Pick<FleetDeckyRow, 'name' | 'host_uuid'>): string =>
  host_uuid === null ? name : `${host_uuid}:${name}`;

/** The whole fleet by name. */
export function listFleet(db: Db): Promise<FleetDeckyRow[]> {
  return db.selectFrom('fleet_deckies').selectAll().orderBy('name').execute();
}

/** What became of requests, oldest first; ids that nobody has are left out. */
export async function listLifecycle(db: Db, ids: readonly string[]): Promise<DeckyLifecycleRow[]> {
  return db
    .selectFrom('decky_lifecycle')
    .selectAll()
    .where('id', 'in', ids)
    .orderBy('started_at')
    .orderBy('id')
    .execute();
}

/**
 * The same for whoever waits for it: a request that nobody takes up would be waited for without an end, for pages ask until
 * each has succeeded or failed. It stays what it is, to be done when there is somebody.
 * @param now milliseconds since the epoch
 */
export async function listAwaited(db: Db, ids: readonly string[], now: number) {
  const rows = await listLifecycle(db, ids);
  const isLeftAlone = ({ status, started_at, claim_expires_at }: DeckyLifecycleRow) =>
    ['pending', 'running'].includes(status) && (claim_expires_at ?? Date.parse(started_at)) < now - LEFT_ALONE_MS;
  const areLeftAlone = rows.some(isLeftAlone) && !(await isAnyoneAtWork(db, now));
  return rows.map((row) => {
    const awaited = lifecycleOf(row);
    return areLeftAlone && isLeftAlone(row) ? { ...awaited, status: 'failed', error: NOBODY_THERE } : awaited;
  });
}

/** Whether some node carries out a rotation. */
async function isAnyoneAtWork(db: Db, now: number): Promise<boolean> {
  const held = await db
    .selectFrom('decky_lifecycle')
    .select('id')
    .where('status', '=', 'running')
    .where('claim_expires_at', '>', now)
    .limit(1)
    .executeTakeFirst();
  return held !== undefined;
}

/**
 * Asks for a rotation of a fleet decky. The request is a row: a rotator of any node carries it out, after a crash too.
 * @param actor the user who asks
 * @param now milliseconds since the epoch
 * @returns the id of the request
 * @throws {AppError} `not_found` without a fleet, without this decky in it, or when it has nothing to rotate to
 */
export function requestRotation(db: Db, name: string, actor: string, now: number): Promise<string> {
  return db.transaction().execute(async (trx) => {
    const decky = await findFleetDecky(trx, name);
    if (textsOf(decky.service_pool).length === 0) {
      throw new AppError('not_found', `No services available to mutate ${name}`);
    }
    const row = newRequest(decky, 'mutate', crypto.randomUUID(), 'operator', now, actor);
    await trx.insertInto('decky_lifecycle').values(row).execute();
    return row.id;
  });
}

/**
 * Sets a decky's own interval; when it is next due is worked out by the rotator.
 * @param interval `null` follows the fleet's
 * @throws {AppError} `not_found`
 */
export function setMutateInterval(db: Db, name: string, interval: string | null, now: number): Promise<void> {
  return db.transaction().execute(async (trx) => {
    await findFleetDecky(trx, name);
    await trx
      .updateTable('fleet_deckies')
      .set({ mutate_interval: interval, next_due_at: null, updated_at: isoTime(now) })
      .where('name', '=', name)
      .execute();
  });
}

/** A row that asks for something to be done to a decky. */
export function newRequest(
  decky: Pick<FleetDeckyRow, 'name' | 'host_uuid'>,
  operation: DeckyLifecycleTable['operation'],
  id: string,
  trigger: DeckyLifecycleTable['trigger'],
  now: number,
  actor: string | null = null,
): DeckyLifecycleTable {
  const at = isoTime(now);
  return {
    id,
    decky_name: decky.name,
    host_uuid: decky.host_uuid,
    operation,
    status: 'pending',
    error: null,
    started_at: at,
    updated_at: at,
    completed_at: null,
    trigger,
    actor,
    planned_services: null,
    claimed_by: null,
    claim_expires_at: null,
  };
}

/** What is told when a decky comes, changes or goes (contract §1.3). */
export function fleetStateEvent(
  decky: Pick<FleetDeckyRow, 'name' | 'host_uuid' | 'state'>,
  state: string,
  transition: 'inserted' | 'state_changed' | 'deleted',
  now: number,
): Event {
  const { name, host_uuid, state: previous } = decky;
  const change = { host_uuid, name, state, transition, source: 'fleet' };
  const told = transition === 'inserted' ? change : { ...change, previous_state: previous };
  return createEvent(topics.decky(substrateId(decky), 'state'), 'state', told, undefined, now);
}

export const isoTime = (milliseconds: number): string => new Date(milliseconds).toISOString();

export async function findFleetDecky(trx: Trx, name: string): Promise<FleetDeckyRow> {
  const decky = await trx.selectFrom('fleet_deckies').selectAll().where('name', '=', name).executeTakeFirst();
  if (decky !== undefined) return decky;
  const any = await trx.selectFrom('fleet_deckies').select('name').limit(1).executeTakeFirst();
  throw new AppError('not_found', any === undefined ? 'No active deployment' : `Decky ${name} not found`);
}
