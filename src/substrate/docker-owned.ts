import type Docker from 'dockerode';
import { type DockerNames, fenceOf, LABELS, type Labels } from './docker-names.ts';
import type { SubstrateObject } from './substrate.ts';

/** Everything of this installation, running or not. */
export async function listOwned(engine: Docker, names: DockerNames): Promise<SubstrateObject[]> {
  const filters = names.ownedFilter();
  const containers = await engine.listContainers({ all: true, filters });
  const networks = await engine.listNetworks({ filters });
  return [
    ...containers.map(({ Id: id, Labels: labels, Created, State }) => ({
      ...describe('decky', id, labels),
      createdAt: Created * 1000,
      isRunning: State === 'running',
    })),
    ...networks.map(({ Id: id, Labels: labels = {}, Created }) => ({
      ...describe('network', id, labels),
      createdAt: Date.parse(Created),
      isRunning: true,
    })),
  ];
}

function describe(kind: SubstrateObject['kind'], id: string, labels: Labels) {
  return {
    kind,
    id,
    topologyId: labels[LABELS.topology] ?? '',
    of: labels[kind === 'decky' ? LABELS.decky : LABELS.lan] ?? '',
    name: labels[LABELS.name] ?? '',
    fence: fenceOf(labels),
  };
}
