import type { Trx } from '../../db/database.ts';
import type { EdgeRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import { BodyFields } from '../../http/body-fields.ts';
import { addressesIn, configOf, renameLanIn } from '../decky-config.ts';
import { type Edit, found } from './edit.ts';
import { joinLan, placeDecky } from './memberships.ts';

const ID = { min: 1, max: 64 };

export type EdgeRequest = ReturnType<typeof parseEdgeRequest>;

/** @throws {AppError} `bad_request` or `invalid` */
export function parseEdgeRequest(body: unknown) {
  const fields = new BodyFields(body);
  const request = {
    deckyUuid: fields.text('decky_uuid', ID),
    lanId: fields.text('lan_id', ID),
    isBridge: fields.booleanOr('is_bridge', undefined),
    forwardsL3: fields.booleanOr('forwards_l3', false),
    expectedVersion: fields.expectedVersion(),
  };
  fields.check();
  return request;
}

/**
 * Puts a decky into a LAN. Its first LAN is its home; every other one it bridges to, unless the request says otherwise. Where
 * it is already, it stays: an editor that draws the same link twice means one.
 */
export function addEdge({ deckyUuid, lanId, isBridge, forwardsL3 }: EdgeRequest): Edit<EdgeRow> {
  return async (trx, parts) => {
    const decky = parts.deckies.find(({ uuid }) => uuid === deckyUuid);
    if (decky === undefined) throw new AppError('bad_request', `No decky ${deckyUuid} in this topology`);
    const lan = parts.lans.find(({ id }) => id === lanId);
    if (lan === undefined) throw new AppError('bad_request', `No LAN ${lanId} in this topology`);
    const existing = parts.edges.find((edge) => edge.decky_uuid === deckyUuid && edge.lan_id === lanId);
    if (existing !== undefined) return forwardsL3 ? forwarding(trx, existing) : existing;
    const hasHome = parts.edges.some((edge) => edge.decky_uuid === deckyUuid);
    return joinLan(trx, parts, decky, lan, { isBridge: isBridge ?? hasHome, forwardsL3 });
  };
}

async function forwarding(trx: Trx, edge: EdgeRow): Promise<EdgeRow> {
  await trx.updateTable('topology_edges').set({ forwards_l3: 1 }).where('id', '=', edge.id).execute();
  return { ...edge, forwards_l3: 1 };
}

/** Takes a decky out of a LAN; its address there is free again. */
export function removeEdge(edgeId: string): Edit<void> {
  return async (trx, { lans, deckies, edges }) => {
    const edge = found(
      'Edge',
      edges.find(({ id }) => id === edgeId),
    );
    await trx.deleteFrom('topology_edges').where('id', '=', edge.id).execute();
    const decky = deckies.find(({ uuid }) => uuid === edge.decky_uuid);
    const lan = lans.find(({ id }) => id === edge.lan_id);
    const isDouble = edges.some(
      ({ id, decky_uuid, lan_id }) => id !== edge.id && decky_uuid === edge.decky_uuid && lan_id === edge.lan_id,
    );
    if (decky === undefined || lan === undefined || isDouble) return;
    await placeDecky(trx, decky, renameLanIn(addressesIn(configOf(decky)), lan.name, undefined));
  };
}
