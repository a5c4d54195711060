import type { Trx } from '../../db/database.ts';
import type { DeckyRow, LanRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import { BodyFields } from '../../http/body-fields.ts';
import { nextAddress, overlaps, parseCidr } from '../addresses.ts';
import { addressesIn, configOf, renameLanIn } from '../decky-config.ts';
import type { TopologyParts } from '../repository.ts';
import { LAN_POOL, takeSubnets } from '../subnets.ts';
import { assertNameIsFree, type Edit, found } from './edit.ts';
import { joinLan, placeDecky } from './memberships.ts';

const SUBNET = { min: 1, max: 18 };

export type LanRequest = ReturnType<typeof parseLanRequest>;
export type LanPatch = ReturnType<typeof parseLanPatch>;

/** @throws {AppError} `bad_request` or `invalid` */
export function parseLanRequest(body: unknown) {
  const fields = new BodyFields(body);
  const request = {
    name: readLanName(fields),
    subnet: fields.textOrNull('subnet', SUBNET),
    isDmz: fields.booleanOr('is_dmz', false),
    x: fields.numberOrNull('x'),
    y: fields.numberOrNull('y'),
    expectedVersion: fields.expectedVersion(),
  };
  if (request.subnet !== null) checkSubnet(fields, request.subnet);
  fields.check();
  return request;
}

/** Fields that the body does not name are `undefined`. @throws {AppError} `bad_request` or `invalid` */
export function parseLanPatch(body: unknown) {
  const fields = new BodyFields(body);
  const patch = {
    name: fields.has('name') ? readLanName(fields) : undefined,
    subnet: fields.has('subnet') ? fields.text('subnet', SUBNET) : undefined,
    isDmz: fields.booleanOr('is_dmz', undefined),
    x: fields.has('x') ? fields.numberOrNull('x') : undefined,
    y: fields.has('y') ? fields.numberOrNull('y') : undefined,
    expectedVersion: fields.expectedVersion(),
  };
  if (patch.subnet !== undefined) checkSubnet(fields, patch.subnet);
  fields.check();
  return patch;
}

/**
 * Adds a LAN, in the next free network where the request names none. The gateway, when the DMZ has one, is put into it:
 * a LAN that the DMZ does not lead to cannot be deployed.
 */
export function addLan(request: LanRequest): Edit<LanRow> {
  return async (trx, parts) => {
    assertNameIsFree('LAN', parts.lans, request.name);
    const [subnet = ''] = request.subnet === null ? await takeSubnets(trx, LAN_POOL, 1) : [request.subnet];
    assertNoOverlap(parts.lans, subnet);
    const lan = {
      id: crypto.randomUUID(),
      topology_id: parts.topology.id,
      name: request.name,
      docker_network_id: null,
      subnet,
      is_dmz: request.isDmz ? 1 : 0,
      x: request.x,
      y: request.y,
    } as const;
    await trx.insertInto('lans').values(lan).execute();
    const gateway = request.isDmz ? undefined : gatewayOf(parts);
    if (gateway !== undefined) await joinLan(trx, parts, gateway, lan, { isBridge: true, forwardsL3: true });
    return lan;
  };
}

/** Changes a LAN; its deckies follow its name, and get new addresses when its network changes. */
export function patchLan(lanId: string, patch: LanPatch): Edit<LanRow> {
  return async (trx, parts) => {
    const lan = found(
      'LAN',
      parts.lans.find(({ id }) => id === lanId),
    );
    if (patch.name !== undefined) assertNameIsFree('LAN', parts.lans, patch.name, lan);
    const changed: LanRow = {
      ...lan,
      name: patch.name ?? lan.name,
      subnet: patch.subnet ?? lan.subnet,
      is_dmz: patch.isDmz === undefined ? lan.is_dmz : patch.isDmz ? 1 : 0,
      x: patch.x === undefined ? lan.x : patch.x,
      y: patch.y === undefined ? lan.y : patch.y,
    };
    if (changed.subnet !== lan.subnet) {
      assertNoOverlap(
        parts.lans.filter(({ id }) => id !== lan.id),
        changed.subnet,
      );
    }
    const { id, ...columns } = changed;
    await trx.updateTable('lans').set(columns).where('id', '=', id).execute();
    await moveMembers(trx, parts.deckies, lan, changed);
    return changed;
  };
}

/** Removes a LAN and everyone's membership in it. @throws {AppError} `bad_request` when a decky is nowhere else */
export function removeLan(lanId: string): Edit<void> {
  return async (trx, { lans, deckies, edges }) => {
    const lan = found(
      'LAN',
      lans.find(({ id }) => id === lanId),
    );
    const elsewhere = new Set(edges.filter((edge) => edge.lan_id !== lan.id).map((edge) => edge.decky_uuid));
    const members = new Set(edges.filter((edge) => edge.lan_id === lan.id).map((edge) => edge.decky_uuid));
    const orphans = deckies.filter(({ uuid }) => members.has(uuid) && !elsewhere.has(uuid)).map(({ name }) => name);
    if (orphans.length > 0) {
      throw new AppError('bad_request', `LAN '${lan.name}' is the only LAN of ${orphans.join(', ')}`);
    }
    await trx.deleteFrom('topology_edges').where('lan_id', '=', lan.id).execute();
    await trx.deleteFrom('lans').where('id', '=', lan.id).execute();
    for (const decky of deckies) {
      const config = configOf(decky);
      const addresses = addressesIn(config);
      if (addresses[lan.name] === undefined) continue;
      await placeDecky(trx, decky, renameLanIn(addresses, lan.name, undefined));
    }
  };
}

async function moveMembers(trx: Trx, deckies: readonly DeckyRow[], from: LanRow, to: LanRow): Promise<void> {
  const used: string[] = [];
  for (const decky of deckies) {
    const addresses = addressesIn(configOf(decky));
    if (addresses[from.name] === undefined) continue;
    const moved = renameLanIn(addresses, from.name, to.name);
    if (to.subnet === from.subnet) {
      if (to.name !== from.name) await placeDecky(trx, decky, moved);
      continue;
    }
    const ip = nextAddress(to.subnet, used);
    if (ip === undefined) throw new AppError('conflict', `${to.subnet} is too small for the deckies of '${to.name}'`);
    used.push(ip);
    await placeDecky(trx, decky, { ...moved, [to.name]: ip });
  }
}

/** The decky that stands in the DMZ and forwards. */
function gatewayOf({ lans, deckies, edges }: TopologyParts): DeckyRow | undefined {
  const dmzIds = lans.filter((lan) => lan.is_dmz === 1).map(({ id }) => id);
  const inDmz = edges.filter((edge) => dmzIds.includes(edge.lan_id)).map((edge) => edge.decky_uuid);
  return deckies.find((decky) => inDmz.includes(decky.uuid) && configOf(decky).forwards_l3 === true);
}

function readLanName(fields: BodyFields): string {
  const name = fields.text('name', { min: 1, max: 64 });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly those are refused
  if (/[\u0000-\u001f\u007f]/.test(name)) fields.refuse('name must not hold control characters');
  // JavaScript moves such keys of an object to the front: the home of a decky is the first key of its addresses.
  if (/^\d+$/.test(name)) fields.refuse('name must not be a number');
  return name;
}

function checkSubnet(fields: BodyFields, subnet: string): void {
  if (parseCidr(subnet) === undefined) fields.refuse('subnet must be an IPv4 network such as 10.0.1.0/24');
}

function assertNoOverlap(lans: readonly LanRow[], subnet: string): void {
  const wanted = parseCidr(subnet);
  const other = lans.find((lan) => {
    const taken = parseCidr(lan.subnet);
    return wanted !== undefined && taken !== undefined && overlaps(wanted, taken);
  });
  if (other !== undefined)
    throw new AppError('bad_request', `${subnet} overlaps LAN '${other.name}' (${other.subnet})`);
}
