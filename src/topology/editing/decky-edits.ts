import type { JsonObject } from '../../bus/event.ts';
import { TopicError, topics } from '../../bus/topic.ts';
import type { DeckyRow, LanRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import { BodyFields } from '../../http/body-fields.ts';
import { contains, parseAddress, parseCidr } from '../addresses.ts';
import { assertKnownServices } from '../creation/create-request.ts';
import {
  type Addresses,
  addressesIn,
  configOf,
  placedAt,
  servicesOf,
  takenAddresses,
  withConfigsOf,
} from '../decky-config.ts';
import { assertNameIsFree, type Edit, found } from './edit.ts';

export type DeckyRequest = ReturnType<typeof parseDeckyRequest>;
export type DeckyPatch = ReturnType<typeof parseDeckyPatch>;

/** @throws {AppError} `bad_request` or `invalid` */
export function parseDeckyRequest(body: unknown) {
  const fields = new BodyFields(body);
  const request = {
    name: readDeckyName(fields),
    services: fields.has('services') ? fields.texts('services') : [],
    config: fields.object('decky_config'),
    x: fields.numberOrNull('x'),
    y: fields.numberOrNull('y'),
    expectedVersion: fields.expectedVersion(),
  };
  fields.check();
  assertKnownServices(request.services);
  return request;
}

/** Fields that the body does not name are `undefined`. @throws {AppError} `bad_request` or `invalid` */
export function parseDeckyPatch(body: unknown) {
  const fields = new BodyFields(body);
  const patch = {
    name: fields.has('name') ? readDeckyName(fields) : undefined,
    services: fields.has('services') ? fields.texts('services') : undefined,
    config: fields.has('decky_config') ? fields.object('decky_config') : undefined,
    x: fields.has('x') ? fields.numberOrNull('x') : undefined,
    y: fields.has('y') ? fields.numberOrNull('y') : undefined,
    expectedVersion: fields.expectedVersion(),
  };
  fields.check();
  assertKnownServices(patch.services ?? []);
  return patch;
}

/** Adds a decky that is in no LAN yet: edges put it there, and give it its addresses. */
export function addDecky(request: DeckyRequest): Edit<DeckyRow> {
  return async (trx, { topology, deckies }) => {
    assertNameIsFree('decky', deckies, request.name);
    const row: DeckyRow = {
      uuid: crypto.randomUUID(),
      topology_id: topology.id,
      name: request.name,
      services: JSON.stringify(request.services),
      ...placedAt({ ...request.config, name: request.name }, {}),
      state: 'pending',
      last_error: null,
      compose_hash: null,
      last_seen: null,
      updated_at: new Date().toISOString(),
      x: request.x,
      y: request.y,
    };
    await trx.insertInto('topology_deckies').values(row).execute();
    return row;
  };
}

/** Changes a decky. A configuration replaces the one before it, but for the addresses and services where it names none. */
export function patchDecky(uuid: string, patch: DeckyPatch): Edit<DeckyRow> {
  return async (trx, { lans, deckies, edges }) => {
    const decky = found(
      'Decky',
      deckies.find((row) => row.uuid === uuid),
    );
    const name = patch.name ?? decky.name;
    assertNameIsFree('decky', deckies, name, decky);
    const before = configOf(decky);
    const config = patch.config === undefined ? before : { ...servicesIn(before), ...patch.config };
    const addresses = addressesIn(config.ips_by_lan === undefined ? before : config);
    if (patch.config !== undefined) {
      const others = deckies.filter((row) => row !== decky);
      const homes = edges.filter((edge) => edge.decky_uuid === uuid).map((edge) => edge.lan_id);
      assertPossible(
        addresses,
        lans.filter(({ id }) => homes.includes(id)),
        others,
      );
    }
    // What it does not run is not configured, whatever a page had read before: the topology could not be deployed.
    const kept = withConfigsOf(config, patch.services ?? servicesOf(decky));
    const columns = {
      name,
      services: patch.services === undefined ? decky.services : JSON.stringify(patch.services),
      ...placedAt({ ...kept, name }, addresses),
      x: patch.x === undefined ? decky.x : patch.x,
      y: patch.y === undefined ? decky.y : patch.y,
      updated_at: new Date().toISOString(),
    };
    await trx.updateTable('topology_deckies').set(columns).where('uuid', '=', uuid).execute();
    return { ...decky, ...columns };
  };
}

/** The part of a configuration that has routes of its own. A page that sends the rest may not know it yet. */
function servicesIn({ service_config }: JsonObject): JsonObject {
  return service_config === undefined ? {} : { service_config };
}

/** Removes a decky and its memberships. */
export function removeDecky(uuid: string): Edit<void> {
  return async (trx, { deckies }) => {
    found(
      'Decky',
      deckies.find((row) => row.uuid === uuid),
    );
    await trx.deleteFrom('topology_edges').where('decky_uuid', '=', uuid).execute();
    await trx.deleteFrom('topology_deckies').where('uuid', '=', uuid).execute();
  };
}

/** One address in each LAN that the decky is in: of its network, and nobody else's. */
function assertPossible(addresses: Addresses, lans: readonly LanRow[], others: readonly DeckyRow[]): void {
  const named = Object.keys(addresses);
  if (named.length !== lans.length || lans.some(({ name }) => !named.includes(name))) {
    const names = lans.map(({ name }) => `'${name}'`).join(', ');
    throw new AppError('bad_request', `ips_by_lan must name an address in each LAN of the decky: ${names || 'none'}`);
  }
  for (const lan of lans) {
    const ip = addresses[lan.name] ?? '';
    const subnet = parseCidr(lan.subnet);
    const address = parseAddress(ip);
    if (subnet === undefined || address === undefined || !contains(subnet, address)) {
      throw new AppError('bad_request', `${ip} is no address of LAN '${lan.name}' (${lan.subnet})`);
    }
    if (takenAddresses(others, lan).includes(ip)) {
      throw new AppError('bad_request', `${ip} is taken in LAN '${lan.name}'`);
    }
  }
}

/** A decky's name is a token of its topics. */
function readDeckyName(fields: BodyFields): string {
  const name = fields.text('name', { min: 1, max: 64 });
  try {
    if (name !== '') topics.decky(name, 'state');
  } catch (error) {
    if (!(error instanceof TopicError)) throw error;
    fields.refuse(error.message);
  }
  return name;
}
