import type { SubstrateDecky, SubstrateNetwork } from './substrate.ts';

/**
 * Labels tell what an object of the engine stands for; objects are found by them and never by name, because a LAN can be
 * renamed and a network of Docker's cannot.
 */
export const LABELS = {
  topology: 'decnet.topology',
  lan: 'decnet.lan',
  decky: 'decnet.decky',
  name: 'decnet.name',
  services: 'decnet.services',
  forwardsL3: 'decnet.forwards_l3',
} as const;

type NetworkKey = Pick<SubstrateNetwork, 'topologyId' | 'lanId'>;
type DeckyKey = Pick<SubstrateDecky, 'topologyId' | 'uuid'>;

/** The engine's filter for the networks of a LAN. */
export const networkFilter = ({ topologyId, lanId }: NetworkKey) => ({
  label: [`${LABELS.topology}=${topologyId}`, `${LABELS.lan}=${lanId}`],
});

/** The engine's filter for the containers of a decky. */
export const deckyFilter = ({ topologyId, uuid }: DeckyKey) => ({
  label: [`${LABELS.topology}=${topologyId}`, `${LABELS.decky}=${uuid}`],
});

export function networkLabels({ topologyId, lanId, name }: SubstrateNetwork): Record<string, string> {
  return { [LABELS.topology]: topologyId, [LABELS.lan]: lanId, [LABELS.name]: name };
}

/** What a container was made for: one that says otherwise is made anew. */
export function deckyLabels(decky: SubstrateDecky): Record<string, string> {
  return {
    [LABELS.topology]: decky.topologyId,
    [LABELS.decky]: decky.uuid,
    [LABELS.name]: decky.name,
    [LABELS.services]: serviceList(decky),
    [LABELS.forwardsL3]: String(decky.forwardsL3),
  };
}

/** The services in an order of their own, so that the same set is the same text. */
export function serviceList({ services }: Pick<SubstrateDecky, 'services'>): string {
  return [...services].sort().join(',');
}

/** `decnet_<first eight of the topology's id>_<LAN name>`. */
export function networkName({ topologyId, lanId, name }: SubstrateNetwork): string {
  return objectName(topologyId, name, lanId);
}

/** `decnet_<first eight of the topology's id>_<decky name>`. */
export function containerName({
  topologyId,
  uuid,
  name,
}: Pick<SubstrateDecky, 'topologyId' | 'uuid' | 'name'>): string {
  return objectName(topologyId, name, uuid);
}

/** The engine takes `[a-zA-Z0-9_.-]`. A name that has to change gets a part of the id: two must not become one. */
function objectName(topologyId: string, name: string, id: string): string {
  const safe = sanitised(name).slice(0, MAX_NAME);
  return `decnet_${sanitised(topologyId.slice(0, 8))}_${safe === name ? safe : `${safe}-${sanitised(id.slice(0, 8))}`}`;
}

const MAX_NAME = 100;
const sanitised = (text: string) => text.replaceAll(/[^a-zA-Z0-9_.-]/g, '-');
