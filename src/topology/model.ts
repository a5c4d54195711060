import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import type { DeckyRow, EdgeRow, LanRow, MutationRow, MutationState, TopologyRow } from '../db/schema.ts';

/** The operations that the mutation queue takes (contract §5.4). */
export const MUTATION_OPS = [
  'add_lan',
  'remove_lan',
  'add_decky',
  'attach_decky',
  'detach_decky',
  'remove_decky',
  'update_decky',
  'update_lan',
] as const;
export type MutationOp = (typeof MUTATION_OPS)[number];

export const MUTATION_STATES: readonly MutationState[] = ['pending', 'applying', 'applied', 'failed'];

/** The statuses in which the queue takes mutations and the mutator applies them. */
export const LIVE_STATUSES: readonly string[] = ['active', 'degraded'];

/** `Summary` of contract §5.9. */
export function summaryOf(row: TopologyRow) {
  return {
    id: row.id,
    name: row.name,
    mode: row.mode,
    target_host_uuid: row.target_host_uuid,
    status: row.status,
    version: row.version,
    needs_resync: row.needs_resync === 1,
    created_at: row.created_at,
    status_changed_at: row.status_changed_at,
    email_personas: row.email_personas,
    language_default: row.language_default,
  };
}

/** `LANRow` of contract §5.9. */
export function lanOf(row: LanRow) {
  return {
    id: row.id,
    topology_id: row.topology_id,
    name: row.name,
    subnet: row.subnet,
    is_dmz: row.is_dmz === 1,
    docker_network_id: row.docker_network_id,
    x: row.x,
    y: row.y,
  };
}

/**
 * `DeckyRow` of contract §5.9.
 * @param homeLan the name of the LAN where the decky's own address is, as far as its edges tell
 */
export function deckyOf(row: DeckyRow, homeLan: string | undefined) {
  const services: Json = JSON.parse(row.services);
  return {
    uuid: row.uuid,
    topology_id: row.topology_id,
    name: row.name,
    services,
    decky_config: deckyConfigOf(row, homeLan),
    ip: row.ip,
    state: row.state,
    last_error: row.last_error,
    x: row.x,
    y: row.y,
  };
}

/** Readers rely on `name` and `ips_by_lan`: rows written without them get what the other columns say. */
function deckyConfigOf(row: DeckyRow, homeLan: string | undefined): JsonObject {
  const stored: Json = JSON.parse(row.decky_config ?? '{}');
  const addresses = homeLan === undefined || row.ip === null ? {} : { [homeLan]: row.ip };
  return { name: row.name, ips_by_lan: addresses, ...(isJsonObject(stored) ? stored : {}) };
}

/** `EdgeRow` of contract §5.9. */
export function edgeOf(row: EdgeRow) {
  return {
    id: row.id,
    topology_id: row.topology_id,
    decky_uuid: row.decky_uuid,
    lan_id: row.lan_id,
    is_bridge: row.is_bridge === 1,
    forwards_l3: row.forwards_l3 === 1,
  };
}

/** `MutationRaw` of contract §3.1: in a snapshot the payload is a JSON string. */
export function rawMutationOf(row: MutationRow) {
  return {
    id: row.id,
    topology_id: row.topology_id,
    op: row.op,
    payload: row.payload,
    state: row.state,
    requested_at: row.requested_at,
    applied_at: row.applied_at,
    reason: row.reason,
  };
}

/** A row of `GET /topologies/{id}/mutations` (contract §5.5): here the payload is an object. */
export function mutationOf(row: MutationRow) {
  const payload: Json = JSON.parse(row.payload);
  return { ...rawMutationOf(row), payload };
}
