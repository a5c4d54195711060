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
  /** `FLEET` for a decky that is in no topology. */
  readonly topologyId: string;
  readonly uuid: string;
  readonly name: string;
  readonly services: readonly string[];
  readonly addresses: readonly { readonly lanId: string; readonly ip: string }[];
  readonly forwardsL3: boolean;
}

/** Something that the substrate has for this installation, whether or not it should. */
export interface SubstrateObject {
  readonly kind: 'network' | 'decky';
  /** The substrate's own id: what is made anew has another one. */
  readonly id: string;
  readonly topologyId: string;
  /** The LAN's id or the decky's. */
  readonly of: string;
  /** What the LAN or the decky was called when this was made. */
  readonly name: string;
  /** The claim under which it was made. */
  readonly fence: number;
  /** Milliseconds since the epoch, by the substrate's clock. */
  readonly createdAt: number;
  /** A network always does. */
  readonly isRunning: boolean;
}

/**
 * The right to change one thing of the substrate: a topology with all that is in it, or one decky of the fleet. A substrate
 * knows no compare-and-swap, so whoever changes something asks at the last moment, and does not begin late.
 */
export interface Fence {
  /** Of two claims of one thing the later one has the higher token. What is made is labelled with it. */
  readonly token: number;
  /**
   * To be called immediately before each single change.
   * @returns milliseconds within which the change has to be begun and should be over: nobody else acts before
   * @throws {ClaimLost} when somebody else has claimed the thing
   */
  admit(): Promise<number>;
}

/** Somebody else may change the thing now. Nothing more may be done to it, undoing what was done least of all. */
export class ClaimLost extends Error {
  override readonly name = 'ClaimLost';
}

/**
 * What actually runs deckies. Every call is idempotent: it brings about a state, and succeeds when that state is there
 * already, so that a step which was interrupted is simply done again. A call that rejects has not reached the state; the
 * message says why.
 *
 * Each call that changes something acts under a fence: it asks the fence before each single change, labels what it makes
 * with the token, and leaves alone what bears a higher one. Then, and when the fence says so, it rejects with `ClaimLost`.
 * What a change that was already on its way when its claim ended leaves behind, the reconciler finds.
 */
export interface Substrate {
  readonly name: 'record' | 'docker';
  /** The network is there, with this subnet. @returns the substrate's id of it; null when it has none */
  ensureNetwork(network: SubstrateNetwork, fence: Fence): Promise<string | null>;
  /** The network is gone. Its deckies have been disconnected before. */
  removeNetwork(network: SubstrateNetwork, fence: Fence): Promise<void>;
  /** The decky runs with exactly these services and addresses; it is recreated when its services differ. */
  ensureDecky(decky: SubstrateDecky, fence: Fence): Promise<void>;
  /** The decky is gone. */
  removeDecky(decky: DeckyKey, fence: Fence): Promise<void>;
  /** Everything that this installation has made and that is still there; nothing of anybody else's. */
  owned(): Promise<readonly SubstrateObject[]>;
  /** This very object is gone. What has been made in its place since is not touched. */
  removeOwned(object: SubstrateObject, fence: Fence): Promise<void>;
}

export type DeckyKey = Pick<SubstrateDecky, 'topologyId' | 'uuid' | 'name'>;

/** The topology of deckies that are in none. */
export const FLEET = 'fleet';

/** What is claimed in order to change a decky of the fleet. In a topology it is the topology, by its id. */
export const fleetThing = (uuid: string): string => `${FLEET}/${uuid}`;

/** A step of a plan, as data: what is to be brought about, in order. */
export type SubstrateAction =
  | { readonly do: 'ensureNetwork'; readonly network: SubstrateNetwork }
  | { readonly do: 'removeNetwork'; readonly network: SubstrateNetwork }
  | { readonly do: 'ensureDecky'; readonly decky: SubstrateDecky }
  | { readonly do: 'removeDecky'; readonly decky: DeckyKey };

/** Carries out a plan step by step; the first failure ends it. */
export async function carryOut(substrate: Substrate, actions: readonly SubstrateAction[], fence: Fence): Promise<void> {
  for (const action of actions) {
    if (action.do === 'ensureNetwork') await substrate.ensureNetwork(action.network, fence);
    else if (action.do === 'removeNetwork') await substrate.removeNetwork(action.network, fence);
    else if (action.do === 'ensureDecky') await substrate.ensureDecky(action.decky, fence);
    else await substrate.removeDecky(action.decky, fence);
  }
}
