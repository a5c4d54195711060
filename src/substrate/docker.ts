import { ensureDecky, removeContainerById, removeDecky } from './docker-containers.ts';
import { connect, FencedEngine } from './docker-engine.ts';
import { telling } from './docker-errors.ts';
import { DockerNames } from './docker-names.ts';
import { ensureNetwork, removeNetwork, removeNetworkById } from './docker-networks.ts';
import { listOwned } from './docker-owned.ts';
import type { Fence, Substrate } from './substrate.ts';

export interface DockerSubstrateOptions {
  /** The engine's UNIX socket, such as `/var/run/docker.sock`. */
  readonly socketPath: string;
  /** What every decky runs. It reads the services that it shall pretend to be from `DECNET_SERVICES` (comma list). */
  readonly image: string;
  /** Tells this installation's networks and containers from those of others on the same engine. */
  readonly installation: string;
  /** An engine silent for so many milliseconds has failed; default 60,000. Changes wait no longer than their claim lasts. */
  readonly timeoutMs?: number;
}

/** Deckies as containers and LANs as bridge networks of one Docker engine. Rejects with `DockerError` or `ClaimLost`. */
export function createDockerSubstrate(options: DockerSubstrateOptions): Substrate {
  const { socketPath, image, installation, timeoutMs = 60_000 } = options;
  const address = { socketPath, timeoutMs };
  const names = new DockerNames(installation);
  const doing = <T>(what: string, fence: Fence, act: (engine: FencedEngine) => Promise<T>) =>
    telling(what, socketPath, () => act(new FencedEngine(address, fence)));
  return {
    name: 'docker',
    ensureNetwork: (network, fence) =>
      doing(`make the network of LAN '${network.name}'`, fence, (engine) => ensureNetwork(engine, names, network)),
    removeNetwork: (network, fence) =>
      doing(`remove the network of LAN '${network.name}'`, fence, (engine) => removeNetwork(engine, names, network)),
    ensureDecky: (decky, fence) =>
      doing(`run decky '${decky.name}'`, fence, (engine) => ensureDecky(engine, { image, names }, decky)),
    removeDecky: (decky, fence) =>
      doing(`remove decky '${decky.name}'`, fence, (engine) => removeDecky(engine, names, decky)),
    owned: () => telling('list what it runs', socketPath, () => listOwned(connect(address), names)),
    removeOwned: ({ kind, id, name, fence: madeUnder }, fence) =>
      doing(`remove the ${kind} '${name}'`, fence, async (engine) => {
        engine.assertNotLater([madeUnder]);
        await (kind === 'network' ? removeNetworkById : removeContainerById)(engine, id);
      }),
  };
}
