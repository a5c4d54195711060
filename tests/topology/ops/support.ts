import type { JsonObject } from '../../../src/bus/event.ts';
import type { MutationOp } from '../../../src/topology/model.ts';
import { OPS } from '../../../src/topology/ops/index.ts';
import type { OpContext } from '../../../src/topology/ops/op.ts';
import type { DeckyState, EdgeState, LanState, TopologyState } from '../../../src/topology/state.ts';

export function lan(id: string, subnet: string, more: Partial<LanState> = {}): LanState {
  return { id, topology_id: 't1', name: id, docker_network_id: null, subnet, is_dmz: 0, x: null, y: null, ...more };
}

/** A decky with these addresses, the first at home. */
export function decky(name: string, addresses: Record<string, string>, more: Partial<DeckyState> = {}): DeckyState {
  return {
    uuid: `uuid-${name}`,
    topology_id: 't1',
    name,
    services: ['ssh'],
    decky_config: { name, ips_by_lan: addresses },
    ip: Object.values(addresses)[0] ?? null,
    state: 'running',
    last_error: null,
    compose_hash: null,
    last_seen: null,
    x: null,
    y: null,
    ...more,
  };
}

export function edge(of: string, lanId: string, isBridge: 0 | 1 = 0): EdgeState {
  return {
    id: `${of}-${lanId}`,
    topology_id: 't1',
    decky_uuid: `uuid-${of}`,
    lan_id: lanId,
    is_bridge: isBridge,
    forwards_l3: 0,
  };
}

/** `dmz` with the gateway and `web`, `office` with `desk` at home; the gateway bridges the two. */
export const OFFICE: TopologyState = {
  topology: { id: 't1', status: 'active', mode: 'unihost' },
  lans: [lan('dmz', '10.0.0.0/24', { is_dmz: 1 }), lan('office', '10.0.1.0/24')],
  deckies: [
    decky('gateway', { dmz: '10.0.0.2', office: '10.0.1.2' }),
    decky('web', { dmz: '10.0.0.3' }),
    decky('desk', { office: '10.0.1.3' }),
  ],
  edges: [edge('gateway', 'dmz'), edge('gateway', 'office', 1), edge('web', 'dmz'), edge('desk', 'office')],
};

export function context(usedSubnets: readonly string[] = []): OpContext {
  let count = 0;
  return {
    usedSubnets,
    newId() {
      count += 1;
      return `new-${count}`;
    },
  };
}

/** The operation on {@link OFFICE} or another state. */
export function run(op: MutationOp, payload: JsonObject, state: TopologyState = OFFICE): TopologyState {
  return OPS[op](state, payload, context());
}

/** The state with one decky changed. */
export function withDecky(name: string, change: Partial<DeckyState>, state: TopologyState = OFFICE): TopologyState {
  return { ...state, deckies: state.deckies.map((one) => (one.name === name ? { ...one, ...change } : one)) };
}

/** The state with one LAN changed. */
export function withLan(name: string, change: Partial<LanState>, state: TopologyState = OFFICE): TopologyState {
  return { ...state, lans: state.lans.map((one) => (one.name === name ? { ...one, ...change } : one)) };
}
