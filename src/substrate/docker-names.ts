import type { SubstrateDecky, SubstrateNetwork } from './substrate.ts';

/**
 * Labels tell what an object of the engine stands for; objects are found by them and never by name, because a LAN can be
 * renamed and a network of Docker's cannot.
 */
export const LABELS = {
  installation: 'decnet.installation',
  fence: 'decnet.fence',
  topology: 'decnet.topology',
  lan: 'decnet.lan',
  decky: 'decnet.decky',
  name: 'decnet.name',
  services: 'decnet.services',
  forwardsL3: 'decnet.forwards_l3',
} as const;

export type Labels = Readonly<Record<string, string>>;
export type NetworkKey = Pick<SubstrateNetwork, 'topologyId' | 'lanId'>;
type DeckyId = Pick<SubstrateDecky, 'topologyId' | 'uuid'>;

/** The claim under which an object was made. */
export const fenceOf = (labels: Labels): number => Number(labels[LABELS.fence] ?? 0);

/** The services in an order of their own, so that the same set is the same text. */
export function serviceList({ services }: Pick<SubstrateDecky, 'services'>): string {
  return [...services].sort().join(',');
}

/** How one installation names its objects of an engine that others use too: theirs are neither found nor in the way. */
export class DockerNames {
  readonly #installation: string;

  /** @param installation unlike any other's */
  constructor(installation: string) {
    this.#installation = installation;
  }

  /** The engine's filter for everything of this installation. */
  ownedFilter() {
    return { label: [`${LABELS.installation}=${this.#installation}`] };
  }

  /** The engine's filter for the networks of a LAN. */
  networkFilter({ topologyId, lanId }: NetworkKey) {
    const { label } = this.ownedFilter();
    return { label: [...label, `${LABELS.topology}=${topologyId}`, `${LABELS.lan}=${lanId}`] };
  }

  /** The engine's filter for the containers of a decky. */
  deckyFilter({ topologyId, uuid }: DeckyId) {
    const { label } = this.ownedFilter();
    return { label: [...label, `${LABELS.topology}=${topologyId}`, `${LABELS.decky}=${uuid}`] };
  }

  networkLabels({ topologyId, lanId, name }: SubstrateNetwork, fence: number): Labels {
    return { ...this.#common(topologyId, name, fence), [LABELS.lan]: lanId };
  }

  /** What a container was made for: one that says otherwise is made anew. */
  deckyLabels(decky: SubstrateDecky, fence: number): Labels {
    return {
      ...this.#common(decky.topologyId, decky.name, fence),
      [LABELS.decky]: decky.uuid,
      [LABELS.services]: serviceList(decky),
      [LABELS.forwardsL3]: String(decky.forwardsL3),
    };
  }

  networkName({ topologyId, lanId, name }: SubstrateNetwork): string {
    return this.#name(topologyId, name, lanId);
  }

  containerName({ topologyId, uuid, name }: Pick<SubstrateDecky, 'topologyId' | 'uuid' | 'name'>): string {
    return this.#name(topologyId, name, uuid);
  }

  #common(topologyId: string, name: string, fence: number): Labels {
    return {
      [LABELS.installation]: this.#installation,
      [LABELS.fence]: String(fence),
      [LABELS.topology]: topologyId,
      [LABELS.name]: name,
    };
  }

  /**
   * `decnet_<installation>_<topology>_<name>`, eight characters of each id. The engine takes `[a-zA-Z0-9_.-]`. A name that
   * has to change gets a part of the object's id: two must not become one.
   */
  #name(topologyId: string, name: string, id: string): string {
    const safe = sanitised(name).slice(0, MAX_NAME);
    const scope = [this.#installation, topologyId].map((part) => sanitised(part.slice(0, 8))).join('_');
    return `decnet_${scope}_${safe === name ? safe : `${safe}-${sanitised(id.slice(0, 8))}`}`;
  }
}

const MAX_NAME = 100;
const sanitised = (text: string) => text.replaceAll(/[^a-zA-Z0-9_.-]/g, '-');
