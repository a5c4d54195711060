import { isJsonObject, type JsonObject } from '../../bus/event.ts';
import { LIVE_STATUSES } from '../model.ts';
import { addressesOf, type DeckyState, homeLanOf, lanNamed, type TopologyState } from '../state.ts';
import { MutationError } from './mutation-error.ts';
import { findDecky, type Op, replaced } from './op.ts';
import { optionalFlag, optionalNumber, optionalObject, optionalServices, requiredText } from './payload.ts';

/** `{decky, patch?, services?, x?, y?, force?}`: the patch is merged into its configuration, key by key. */
export const updateDecky: Op = (state, payload) => {
  const decky = findDecky(state, requiredText(payload, 'decky'));
  const patch = patchIn(payload);
  checkForwarding(state, decky, patch, optionalFlag(payload, 'force') ?? false);
  const services = optionalServices(payload) ?? decky.services;
  const updated: DeckyState = {
    ...decky,
    decky_config: { ...withoutDropped(decky, services), ...patch },
    services,
    x: optionalNumber(payload, 'x') ?? decky.x,
    y: optionalNumber(payload, 'y') ?? decky.y,
  };
  return { ...state, deckies: replaced(state.deckies, decky, { ...updated, ip: homeAddress(decky, updated, patch) }) };
};

/**
 * DECNET's editor sends `{decky_config: …}`, as in a PATCH: the whole configuration as the page had read it, with one key
 * changed. What has been given addresses or services since must not go back to what the page knew.
 */
function patchIn(payload: JsonObject): JsonObject {
  const patch = optionalObject(payload, 'patch') ?? {};
  const { decky_config: _whole, ...named } = patch;
  const {
    name: _name,
    ips_by_lan: _addresses,
    service_config: _services,
    ...read
  } = optionalObject(patch, 'decky_config') ?? {};
  return { ...read, ...named };
}

/** Its configuration without that of services which it no longer has. */
function withoutDropped({ decky_config, services: before }: DeckyState, after: readonly string[]): JsonObject {
  if (!isJsonObject(decky_config.service_config)) return decky_config;
  const isKept = ([service]: [string, unknown]) => after.includes(service) || !before.includes(service);
  return {
    ...decky_config,
    service_config: Object.fromEntries(Object.entries(decky_config.service_config).filter(isKept)),
  };
}

function checkForwarding(state: TopologyState, decky: DeckyState, patch: JsonObject, force: boolean): void {
  const wanted = optionalFlag(patch, 'forwards_l3');
  const isForwarding = decky.decky_config.forwards_l3 === true;
  if (wanted === undefined || wanted === isForwarding) return;
  const home = homeLanOf(decky);
  if (wanted && (home === undefined || lanNamed(state, home)?.is_dmz !== 1)) {
    throw new MutationError(`decky '${decky.name}' cannot forward: only a decky homed in a DMZ LAN may`);
  }
  if (!force && LIVE_STATUSES.includes(state.topology.status)) {
    throw new MutationError(`forwards_l3 of decky '${decky.name}' changes on a live topology only with force`);
  }
}

/** Its own address follows a patch of its addresses. */
function homeAddress(before: DeckyState, after: DeckyState, patch: JsonObject): string | null {
  if (optionalObject(patch, 'ips_by_lan') === undefined) return before.ip;
  const addresses = addressesOf(after);
  return addresses.get(homeLanOf(before) ?? '') ?? [...addresses.values()][0] ?? null;
}
