import type { Event } from '../../bus/event.ts';
import { appendToOutbox } from '../../bus/outbox.ts';
import type { Db } from '../../db/database.ts';
import { lockNamed } from '../../db/leases.ts';
import type { FleetDeckyRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import type { Settings } from '../../settings/settings.ts';
import { contains, nextAddress, parseAddress, parseCidr } from '../../topology/addresses.ts';
import { fleetStateEvent, isoTime, newRequest } from '../fleet.ts';
import { forgetDeckies } from '../remove.ts';
import { forgetOld } from '../rotation-claim.ts';
import { poolOf, profileOf } from './profile.ts';
import type { WantedDecky, WantedFleet } from './wanted.ts';

export interface Deployment {
  readonly fleet: WantedFleet;
  /** The deckies that are there go, and only these come. */
  readonly replaces: boolean;
  /** The user who asks. */
  readonly actor: string;
}

/**
 * Puts deckies into the fleet. Each is a row and a request that the rotator of any node carries out.
 * @param defaultNetwork CIDR, for addresses where the request names none
 * @param now milliseconds since the epoch
 * @returns the ids of the requests
 * @throws {AppError} `conflict` for a name or an address that is taken, without a free address, or for more deckies than the
 *   fleet may have
 */
export function deployFleet(
  db: Db,
  settings: Pick<Settings, 'read'>,
  { fleet, replaces, actor }: Deployment,
  defaultNetwork: string,
  now: number,
): Promise<string[]> {
  return db.transaction().execute(async (trx) => {
    // Deployments queue up here: what one has counted stays counted.
    await lockNamed(trx, 'fleet');
    const present = await trx.selectFrom('fleet_deckies').selectAll().orderBy('name').execute();
    const gone = replaces ? present : [];
    const kept = replaces ? [] : present;
    const { deployment_limit: limit } = await settings.read(trx);
    const total = kept.length + fleet.deckies.length;
    if (total > limit) {
      throw new AppError('conflict', `The fleet would have ${total} deckies; the deployment limit is ${limit}`);
    }
    const taken = fleet.deckies.find(({ name }) => kept.some((decky) => decky.name === name));
    if (taken !== undefined) {
      const ways = 'choose another name, or have the whole fleet replaced (replace_fleet)';
      throw new AppError('conflict', `${taken.name} is in the fleet already: ${ways}`);
    }
    const rows = rowsOf(fleet, kept, defaultNetwork, now);
    const events: Event[] = await forgetDeckies(trx, gone, 'The fleet was replaced', now);
    for (const row of rows) await trx.insertInto('fleet_deckies').values(row).execute();
    await forgetOld(trx, now);
    const requests = rows.map((row) => newRequest(row, 'deploy', crypto.randomUUID(), 'operator', now, actor));
    for (const request of requests) await trx.insertInto('decky_lifecycle').values(request).execute();
    await appendToOutbox(trx, [...events, ...rows.map((row) => fleetStateEvent(row, row.state, 'inserted', now))]);
    return requests.map(({ id }) => id);
  });
}

/** The rows of what is wanted, each with an address that nobody else has. */
function rowsOf(
  { deckies, network, gateway }: WantedFleet,
  kept: readonly FleetDeckyRow[],
  defaultNetwork: string,
  now: number,
): FleetDeckyRow[] {
  const subnet = network ?? defaultNetwork;
  const used = new Set(kept.map(({ ip }) => ip));
  if (gateway !== null) used.add(gateway);
  // Those that were asked for first: nobody is given one of them.
  for (const { name, ip } of deckies) {
    if (ip === null) continue;
    if (used.has(ip)) throw new AppError('conflict', `${name}: the address ${ip} is taken`);
    if (network !== null && !isIn(network, ip)) throw new AppError('conflict', `${name}: ${ip} is not in ${network}`);
    used.add(ip);
  }
  return deckies.map((decky) => {
    const ip = decky.ip ?? nextAddress(subnet, used);
    if (ip === undefined) throw new AppError('conflict', `No free address is left in ${subnet}`);
    used.add(ip);
    return rowOf(decky, ip, now);
  });
}

function isIn(network: string, ip: string): boolean {
  const [subnet, address] = [parseCidr(network), parseAddress(ip)];
  return subnet !== undefined && address !== undefined && contains(subnet, address);
}

function rowOf(decky: WantedDecky, ip: string, now: number): FleetDeckyRow {
  const { name, archetype, services, configs, mutateInterval, nmapOs } = decky;
  const profile = profileOf(name, archetype);
  return {
    name,
    host_uuid: null,
    archetype,
    services: JSON.stringify(services),
    service_pool: JSON.stringify(poolOf(archetype, services)),
    service_config: JSON.stringify(configs),
    mutate_interval: mutateInterval,
    state: 'pending',
    last_mutated_at: null,
    next_due_at: null,
    updated_at: isoTime(now),
    ip,
    ...profile,
    nmap_os: nmapOs ?? profile.nmap_os,
  };
}
