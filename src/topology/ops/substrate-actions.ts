import type { SubstrateAction, SubstrateDecky, SubstrateNetwork } from '../../substrate/substrate.ts';
import { addressesOf, type DeckyState, homeLanOf, type LanState, type TopologyState } from '../state.ts';

/**
 * What turns a substrate that runs the one state into one that runs the other, in an order that works: nothing is removed
 * while something uses it. The way back is the same with the states exchanged. A topology that an agent on another host
 * runs is none of this substrate's business.
 */
export function substrateActions(before: TopologyState, after: TopologyState): SubstrateAction[] {
  if (after.topology.mode === 'agent') return [];
  const networks = differences(before.lans, after.lans, ({ id }) => id, networkOf);
  const deckies = differences(
    before.deckies.map((decky) => runningDecky(before, decky)),
    after.deckies.map((decky) => runningDecky(after, decky)),
    ({ uuid }) => uuid,
    (decky) => decky,
  );
  return [
    ...deckies.gone.map((decky) => ({ do: 'removeDecky' as const, decky: deckyKey(decky) })),
    ...networks.wanted.map((network) => ({ do: 'ensureNetwork' as const, network })),
    ...deckies.wanted.map((decky) => ({ do: 'ensureDecky' as const, decky })),
    ...networks.gone.map((network) => ({ do: 'removeNetwork' as const, network })),
  ];
}

/** A LAN as its substrate sees it. */
export function networkOf(lan: LanState): SubstrateNetwork {
  const { topology_id: topologyId, id: lanId, name, subnet } = lan;
  return { topologyId, lanId, name, subnet, isDmz: lan.is_dmz === 1 };
}

/** A decky as its substrate sees it, its home first. */
export function runningDecky({ lans }: Pick<TopologyState, 'lans'>, decky: DeckyState): SubstrateDecky {
  const addresses = addressesOf(decky);
  const home = homeLanOf(decky);
  const members = lans.flatMap(({ id, name }) => {
    const ip = addresses.get(name);
    return ip === undefined ? [] : [{ lanId: id, ip, isHome: name === home }];
  });
  return {
    topologyId: decky.topology_id,
    uuid: decky.uuid,
    name: decky.name,
    services: decky.services,
    addresses: members
      .sort((one, other) => Number(other.isHome) - Number(one.isHome))
      .map(({ lanId, ip }) => ({ lanId, ip })),
    forwardsL3: decky.decky_config.forwards_l3 === true,
  };
}

function deckyKey({ topologyId, uuid, name }: SubstrateDecky) {
  return { topologyId, uuid, name };
}

/** @returns what is gone, as it was, and what is new or looks different, as it shall be */
function differences<Item, View>(
  before: readonly Item[],
  after: readonly Item[],
  keyOf: (item: Item) => string,
  viewOf: (item: Item) => View,
): { gone: View[]; wanted: View[] } {
  const old = new Map(before.map((item) => [keyOf(item), viewOf(item)]));
  const kept = new Set(after.map(keyOf));
  return {
    gone: before.filter((item) => !kept.has(keyOf(item))).map(viewOf),
    wanted: after.filter((item) => !Bun.deepEquals(old.get(keyOf(item)), viewOf(item))).map(viewOf),
  };
}
