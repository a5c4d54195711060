import { nextAddress } from '../addresses.ts';
import { type Addresses, renameLanIn } from '../decky-config.ts';
import { addressesOf, type DeckyState, type EdgeState, type LanState, type TopologyState } from '../state.ts';
import { MutationError } from './mutation-error.ts';
import type { OpContext } from './op.ts';

/** @throws {MutationError} when the LAN has no address left */
export function freeAddress({ deckies }: TopologyState, lan: LanState): string {
  const used = deckies.map((decky) => addressesOf(decky).get(lan.name)).filter((ip) => ip !== undefined);
  const address = nextAddress(lan.subnet, used);
  if (address === undefined) throw new MutationError(`LAN '${lan.name}' has no free address`);
  return address;
}

export function isMember(decky: DeckyState, lan: LanState): boolean {
  return addressesOf(decky).has(lan.name);
}

/** The decky with these addresses and no others. */
export function withAddresses(decky: DeckyState, addresses: Addresses): DeckyState {
  return { ...decky, decky_config: { ...decky.decky_config, ips_by_lan: addresses } };
}

/** The decky with its address in this LAN under another name for the LAN, or without it. */
export function withRenamedLan(decky: DeckyState, lan: LanState, name: string | undefined): DeckyState {
  if (!isMember(decky, lan)) return decky;
  return withAddresses(decky, renameLanIn(Object.fromEntries(addressesOf(decky)), lan.name, name));
}

export function newEdge(
  lan: LanState,
  deckyUuid: string,
  { bridge, forwardsL3 }: { readonly bridge: boolean; readonly forwardsL3: boolean },
  context: OpContext,
): EdgeState {
  return {
    id: context.newId(),
    topology_id: lan.topology_id,
    decky_uuid: deckyUuid,
    lan_id: lan.id,
    is_bridge: bridge ? 1 : 0,
    forwards_l3: forwardsL3 ? 1 : 0,
  };
}
