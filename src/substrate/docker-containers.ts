import type Docker from 'dockerode';
import { isJsonObject } from '../bus/event.ts';
import { statusOf, unless } from './docker-errors.ts';
import { containerName, deckyFilter, deckyLabels, LABELS, serviceList } from './docker-names.ts';
import { findNetwork } from './docker-networks.ts';
import type { SubstrateDecky } from './substrate.ts';

/** An address that a container shall have. */
interface Endpoint {
  readonly networkId: string;
  readonly networkName: string;
  readonly ip: string;
}

/**
 * Has one container run as the decky. It is made anew when its services differ, else only its networks are put right, so
 * that whoever is connected to it stays so. Without addresses it is on the engine's default network.
 */
export async function ensureDecky(engine: Docker, image: string, decky: SubstrateDecky): Promise<void> {
  const endpoints = await endpointsOf(engine, decky);
  let container = await findContainer(engine, decky);
  if (container !== undefined && isOutdated(container, decky)) {
    await removeById(engine, container.Id);
    container = undefined;
  }
  const id = container?.Id ?? (await createContainer(engine, image, decky, endpoints[0]));
  // A process may have ended between any two of these calls: what is there is looked at, never remembered.
  if (endpoints.length > 0) await putNetworksRight(engine, id, endpoints);
  await unless([304], engine.getContainer(id).start());
}

export async function removeDecky(engine: Docker, decky: Pick<SubstrateDecky, 'topologyId' | 'uuid'>): Promise<void> {
  const containers = await engine.listContainers({ all: true, filters: deckyFilter(decky) });
  for (const { Id } of containers) await removeById(engine, Id);
}

async function findContainer(engine: Docker, decky: SubstrateDecky) {
  const [found] = await engine.listContainers({ all: true, filters: deckyFilter(decky) });
  return found;
}

function isOutdated({ Labels }: Docker.ContainerInfo, decky: SubstrateDecky): boolean {
  const wanted = deckyLabels(decky);
  return [LABELS.services, LABELS.forwardsL3].some((label) => Labels[label] !== wanted[label]);
}

async function createContainer(engine: Docker, image: string, decky: SubstrateDecky, home: Endpoint | undefined) {
  try {
    const { id } = await engine.createContainer({
      name: containerName(decky),
      Image: image,
      Hostname: decky.name.slice(0, 63),
      Env: [`DECNET_DECKY=${decky.name}`, `DECNET_SERVICES=${serviceList(decky)}`],
      Labels: deckyLabels(decky),
      HostConfig: {
        RestartPolicy: { Name: 'unless-stopped' },
        ...(decky.forwardsL3 ? { Sysctls: { 'net.ipv4.ip_forward': '1' } } : {}),
        ...(home === undefined ? {} : { NetworkMode: home.networkId }),
      },
      // Engines before API 1.44 take one network here; the others are connected before the start.
      ...(home === undefined
        ? {}
        : { NetworkingConfig: { EndpointsConfig: { [home.networkId]: addressed(home.ip) } } }),
    });
    return id;
  } catch (error) {
    if (statusOf(error) !== 409) throw error;
    // Somebody brought about the same at the same time, or the name is a stranger's.
    const made = await findContainer(engine, decky);
    if (made === undefined || isOutdated(made, decky)) throw error;
    return made.Id;
  }
}

async function endpointsOf(engine: Docker, { topologyId, addresses }: SubstrateDecky): Promise<Endpoint[]> {
  return Promise.all(
    addresses.map(async ({ lanId, ip }) => {
      const network = await findNetwork(engine, { topologyId, lanId });
      if (network === undefined) throw new Error(`there is no network for LAN ${lanId}`);
      return { networkId: network.Id, networkName: network.Name, ip };
    }),
  );
}

async function putNetworksRight(engine: Docker, id: string, endpoints: readonly Endpoint[]): Promise<void> {
  const { NetworkSettings } = await engine.getContainer(id).inspect();
  const present = Object.entries(NetworkSettings.Networks).map(([key, { NetworkID, IPAMConfig, IPAddress }]) => {
    const fixed: unknown = isJsonObject(IPAMConfig) ? IPAMConfig.IPv4Address : undefined;
    return { key, networkId: NetworkID, ip: typeof fixed === 'string' ? fixed : IPAddress };
  });
  type Present = (typeof present)[number];
  // A container that has never run knows its first network by name only.
  const isSame = (there: Present, wanted: Endpoint) =>
    [there.key, there.networkId].some((name) => name === wanted.networkId || name === wanted.networkName) &&
    there.ip === wanted.ip;
  for (const there of present.filter((one) => !endpoints.some((wanted) => isSame(one, wanted)))) {
    const network = engine.getNetwork(there.networkId === '' ? there.key : there.networkId);
    await unless([404], network.disconnect({ Container: id, Force: true }));
  }
  for (const wanted of endpoints.filter((one) => !present.some((there) => isSame(there, one)))) {
    await engine.getNetwork(wanted.networkId).connect({ Container: id, EndpointConfig: addressed(wanted.ip) });
  }
}

const addressed = (ip: string) => ({ IPAMConfig: { IPv4Address: ip } });

/** With its anonymous volumes, running or not. */
function removeById(engine: Docker, id: string): Promise<void> {
  return unless([404], engine.getContainer(id).remove({ force: true, v: true }));
}
