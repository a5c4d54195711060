import type Docker from 'dockerode';
import { isJsonObject } from '../bus/event.ts';
import type { FencedEngine } from './docker-engine.ts';
import { statusOf, unless } from './docker-errors.ts';
import { type DockerNames, fenceOf, LABELS, serviceList } from './docker-names.ts';
import { findNetwork } from './docker-networks.ts';
import type { DeckyKey, SubstrateDecky } from './substrate.ts';

/** An address that a container shall have. */
interface Endpoint {
  readonly networkId: string;
  readonly networkName: string;
  readonly ip: string;
}

/** What deckies run, and how they are known to the engine. */
export interface Blueprint {
  readonly image: string;
  readonly names: DockerNames;
}

/**
 * Has one container run as the decky. It is made anew when its services differ, else only its networks are put right, so
 * that whoever is connected to it stays so. Without addresses it is on the engine's default network.
 */
export async function ensureDecky(engine: FencedEngine, blueprint: Blueprint, decky: SubstrateDecky): Promise<void> {
  const endpoints = await endpointsOf(engine, blueprint.names, decky);
  const id = await ensureContainer(engine, blueprint, decky, endpoints[0]);
  // A process may have ended between any two of these calls: what is there is looked at, never remembered.
  if (endpoints.length > 0) await putNetworksRight(engine, id, endpoints);
  await unless(
    [304],
    engine.change((docker) => docker.getContainer(id).start()),
  );
}

export async function removeDecky(engine: FencedEngine, names: DockerNames, decky: DeckyKey): Promise<void> {
  for (const { Id } of await findContainers(engine, names, decky)) await removeContainerById(engine, Id);
}

/** With its anonymous volumes, running or not. */
export function removeContainerById(engine: FencedEngine, id: string): Promise<void> {
  return unless(
    [404],
    engine.change((docker) => docker.getContainer(id).remove({ force: true, v: true })),
  );
}

/** @returns the id of a container that was made for what the decky is now */
async function ensureContainer(
  engine: FencedEngine,
  blueprint: Blueprint,
  decky: SubstrateDecky,
  home: Endpoint | undefined,
): Promise<string> {
  const { names } = blueprint;
  for (let isRetry = false; ; isRetry = true) {
    const [found] = await findContainers(engine, names, decky);
    if (found !== undefined && !isOutdated(names, found, decky)) return found.Id;
    if (found !== undefined) await removeContainerById(engine, found.Id);
    try {
      return await createContainer(engine, blueprint, decky, home);
    } catch (error) {
      // Somebody has made one meanwhile, perhaps under a claim that has ended. Seen a second time, the name is a stranger's.
      if (isRetry || statusOf(error) !== 409) throw error;
    }
  }
}

async function findContainers(engine: FencedEngine, names: DockerNames, decky: DeckyKey) {
  const found = await engine.look.listContainers({ all: true, filters: names.deckyFilter(decky) });
  engine.assertNotLater(found.map(({ Labels }) => fenceOf(Labels)));
  return found;
}

function isOutdated(names: DockerNames, { Labels }: Docker.ContainerInfo, decky: SubstrateDecky): boolean {
  const wanted = names.deckyLabels(decky, 0);
  return [LABELS.services, LABELS.forwardsL3].some((label) => Labels[label] !== wanted[label]);
}

async function createContainer(
  engine: FencedEngine,
  { image, names }: Blueprint,
  decky: SubstrateDecky,
  home: Endpoint | undefined,
): Promise<string> {
  const { id } = await engine.change((docker) =>
    docker.createContainer({
      name: names.containerName(decky),
      Image: image,
      Hostname: decky.name.slice(0, 63),
      Env: [`DECNET_DECKY=${decky.name}`, `DECNET_SERVICES=${serviceList(decky)}`],
      Labels: names.deckyLabels(decky, engine.token),
      HostConfig: {
        RestartPolicy: { Name: 'unless-stopped' },
        ...(decky.forwardsL3 ? { Sysctls: { 'net.ipv4.ip_forward': '1' } } : {}),
        ...(home === undefined ? {} : { NetworkMode: home.networkId }),
      },
      // Engines before API 1.44 take one network here; the others are connected before the start.
      ...(home === undefined
        ? {}
        : { NetworkingConfig: { EndpointsConfig: { [home.networkId]: addressed(home.ip) } } }),
    }),
  );
  return id;
}

async function endpointsOf(
  engine: FencedEngine,
  names: DockerNames,
  { topologyId, addresses }: SubstrateDecky,
): Promise<Endpoint[]> {
  return Promise.all(
    addresses.map(async ({ lanId, ip }) => {
      const network = await findNetwork(engine, names, { topologyId, lanId });
      if (network === undefined) throw new Error(`there is no network for LAN ${lanId}`);
      return { networkId: network.Id, networkName: network.Name, ip };
    }),
  );
}

async function putNetworksRight(engine: FencedEngine, id: string, endpoints: readonly Endpoint[]): Promise<void> {
  const { NetworkSettings } = await engine.look.getContainer(id).inspect();
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
    const network = there.networkId === '' ? there.key : there.networkId;
    await unless(
      [404],
      engine.change((docker) => docker.getNetwork(network).disconnect({ Container: id, Force: true })),
    );
  }
  for (const { networkId, ip } of endpoints.filter((one) => !present.some((there) => isSame(there, one)))) {
    await engine.change((docker) =>
      docker.getNetwork(networkId).connect({ Container: id, EndpointConfig: addressed(ip) }),
    );
  }
}

const addressed = (ip: string) => ({ IPAMConfig: { IPv4Address: ip } });
