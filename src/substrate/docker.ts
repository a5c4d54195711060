import Docker from 'dockerode';
import { ensureDecky, removeDecky } from './docker-containers.ts';
import { telling } from './docker-errors.ts';
import { ensureNetwork, removeNetwork } from './docker-networks.ts';
import type { Substrate } from './substrate.ts';

export interface DockerSubstrateOptions {
  /** The engine's UNIX socket, such as `/var/run/docker.sock`. */
  readonly socketPath: string;
  /** What every decky runs. It reads the services that it shall pretend to be from `DECNET_SERVICES` (comma list). */
  readonly image: string;
  /** An engine silent for so many milliseconds has failed; default 60,000. */
  readonly timeoutMs?: number;
}

/** Old enough for engines since 2020, new enough for everything that is used here. */
const API_VERSION = 'v1.41';

/** Deckies as containers and LANs as bridge networks of one Docker engine. Rejects with `DockerError`. */
export function createDockerSubstrate({ socketPath, image, timeoutMs = 60_000 }: DockerSubstrateOptions): Substrate {
  const engine = new Docker({ socketPath, version: API_VERSION, timeout: timeoutMs });
  const doing = <T>(what: string, act: () => Promise<T>) => telling(what, socketPath, act);
  return {
    name: 'docker',
    ensureNetwork: (network) =>
      doing(`make the network of LAN '${network.name}'`, () => ensureNetwork(engine, network)),
    removeNetwork: (network) =>
      doing(`remove the network of LAN '${network.name}'`, () => removeNetwork(engine, network)),
    ensureDecky: (decky) => doing(`run decky '${decky.name}'`, () => ensureDecky(engine, image, decky)),
    removeDecky: (decky) => doing(`remove decky '${decky.name}'`, () => removeDecky(engine, decky)),
  };
}
