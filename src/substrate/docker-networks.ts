import type Docker from 'dockerode';
import { statusOf, unless } from './docker-errors.ts';
import { networkFilter, networkLabels, networkName } from './docker-names.ts';
import type { SubstrateNetwork } from './substrate.ts';

type Network = Pick<SubstrateNetwork, 'topologyId' | 'lanId'>;

/** The engine's network of a LAN; `undefined` when there is none. */
export async function findNetwork(engine: Docker, network: Network) {
  const [found] = await findNetworks(engine, network);
  return found;
}

/** Has a network with this subnet, and no other, stand for the LAN. @returns the engine's id of it */
export async function ensureNetwork(engine: Docker, network: SubstrateNetwork): Promise<string> {
  for (const found of await findNetworks(engine, network)) {
    if (found.IPAM?.Config?.some(({ Subnet }) => Subnet === network.subnet)) return found.Id;
    await removeById(engine, found.Id);
  }
  try {
    const { id } = await engine.createNetwork({
      Name: networkName(network),
      Driver: 'bridge',
      // Older engines would make a second one of this name.
      CheckDuplicate: true,
      Internal: !network.isDmz,
      IPAM: { Driver: 'default', Config: [{ Subnet: network.subnet }] },
      Labels: networkLabels(network),
    });
    return id;
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
    // Somebody brought about the same at the same time, or the name is a stranger's.
    const made = await findNetwork(engine, network);
    if (made === undefined) throw error;
    return made.Id;
  }
}

export async function removeNetwork(engine: Docker, network: Network): Promise<void> {
  for (const { Id } of await findNetworks(engine, network)) await removeById(engine, Id);
}

function findNetworks(engine: Docker, network: Network) {
  return engine.listNetworks({ filters: networkFilter(network) });
}

function removeById(engine: Docker, id: string): Promise<void> {
  return unless([404], engine.getNetwork(id).remove());
}
