import type { FencedEngine } from './docker-engine.ts';
import { statusOf, unless } from './docker-errors.ts';
import { type DockerNames, fenceOf, type NetworkKey } from './docker-names.ts';
import type { SubstrateNetwork } from './substrate.ts';

/** The engine's network of a LAN; `undefined` when there is none. */
export async function findNetwork(engine: FencedEngine, names: DockerNames, network: NetworkKey) {
  const [found] = await findNetworks(engine, names, network);
  return found;
}

/** Has a network with this subnet, and no other, stand for the LAN. @returns the engine's id of it */
export async function ensureNetwork(
  engine: FencedEngine,
  names: DockerNames,
  network: SubstrateNetwork,
): Promise<string> {
  for (let isRetry = false; ; isRetry = true) {
    for (const found of await findNetworks(engine, names, network)) {
      if (found.IPAM?.Config?.some(({ Subnet }) => Subnet === network.subnet)) return found.Id;
      await removeNetworkById(engine, found.Id);
    }
    try {
      return await createNetwork(engine, names, network);
    } catch (error) {
      // Somebody has made one meanwhile, perhaps under a claim that has ended. Seen a second time, the name is a stranger's.
      if (isRetry || statusOf(error) !== 409) throw error;
    }
  }
}

export async function removeNetwork(engine: FencedEngine, names: DockerNames, network: NetworkKey): Promise<void> {
  for (const { Id } of await findNetworks(engine, names, network)) await removeNetworkById(engine, Id);
}

export function removeNetworkById(engine: FencedEngine, id: string): Promise<void> {
  return unless(
    [404],
    engine.change((docker) => docker.getNetwork(id).remove()),
  );
}

async function createNetwork(engine: FencedEngine, names: DockerNames, network: SubstrateNetwork): Promise<string> {
  const { id } = await engine.change((docker) =>
    docker.createNetwork({
      Name: names.networkName(network),
      Driver: 'bridge',
      // Older engines would make a second one of this name.
      CheckDuplicate: true,
      Internal: !network.isDmz,
      IPAM: { Driver: 'default', Config: [{ Subnet: network.subnet }] },
      Labels: names.networkLabels(network, engine.token),
    }),
  );
  return id;
}

async function findNetworks(engine: FencedEngine, names: DockerNames, network: NetworkKey) {
  const found = await engine.look.listNetworks({ filters: names.networkFilter(network) });
  engine.assertNotLater(found.map(({ Labels = {} }) => fenceOf(Labels)));
  return found;
}
