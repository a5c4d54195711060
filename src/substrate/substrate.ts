/** A LAN as the substrate sees it: one network. */
export interface SubstrateNetwork {
  readonly topologyId: string;
  readonly lanId: string;
  readonly name: string;
  /** CIDR. */
  readonly subnet: string;
  /** True where the outside can reach it. */
  readonly isDmz: boolean;
}

/** A decky as the substrate sees it: one running thing with an address in each of its networks. */
export interface SubstrateDecky {
  readonly topologyId: string;
  readonly uuid: string;
  readonly name: string;
  readonly services: readonly string[];
  readonly addresses: readonly { readonly lanId: string; readonly ip: string }[];
  readonly forwardsL3: boolean;
}

/**
 * What actually runs deckies. Every call is idempotent: it brings about a state, and succeeds when that state is there
 * already, so that a step which was interrupted is simply done again. A call that rejects has not reached the state; the
 * message says why.
 */
export interface Substrate {
  readonly name: 'record' | 'docker';
  /** The network is there, with this subnet. @returns the substrate's id of it; null when it has none */
  ensureNetwork(network: SubstrateNetwork): Promise<string | null>;
  /** The network is gone. Its deckies have been disconnected before. */
  removeNetwork(network: SubstrateNetwork): Promise<void>;
  /** The decky runs with exactly these services and addresses; it is recreated when its services differ. */
  ensureDecky(decky: SubstrateDecky): Promise<void>;
  /** The decky is gone. */
  removeDecky(decky: Pick<SubstrateDecky, 'topologyId' | 'uuid' | 'name'>): Promise<void>;
}

/** A step of a plan, as data: what is to be brought about, in order. */
export type SubstrateAction =
  | { readonly do: 'ensureNetwork'; readonly network: SubstrateNetwork }
  | { readonly do: 'removeNetwork'; readonly network: SubstrateNetwork }
  | { readonly do: 'ensureDecky'; readonly decky: SubstrateDecky }
  | { readonly do: 'removeDecky'; readonly decky: Pick<SubstrateDecky, 'topologyId' | 'uuid' | 'name'> };

/** Carries out a plan step by step; the first failure ends it. */
export async function carryOut(substrate: Substrate, actions: readonly SubstrateAction[]): Promise<void> {
  for (const action of actions) {
    if (action.do === 'ensureNetwork') await substrate.ensureNetwork(action.network);
    else if (action.do === 'removeNetwork') await substrate.removeNetwork(action.network);
    else if (action.do === 'ensureDecky') await substrate.ensureDecky(action.decky);
    else await substrate.removeDecky(action.decky);
  }
}
