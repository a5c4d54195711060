import { createDockerSubstrate } from '../../src/substrate/docker.ts';
import { carryOut, type Substrate } from '../../src/substrate/substrate.ts';
import { substrateActions } from '../../src/topology/ops/substrate-actions.ts';
import { openFence } from '../support/fence.ts';
import type { World } from '../topology/mutator/support.ts';
import type { FakeContainer, FakeEngine } from './fake-engine.ts';

/** Docker as one node of an installation uses it. */
export const dockerOf = (engine: FakeEngine, installation = 'install-1'): Substrate =>
  createDockerSubstrate({ socketPath: engine.socketPath, image: 'decoy:1', installation });

/** Has the engine run a topology as the database says. */
export async function bringUp(world: World, engine: FakeEngine, id = 't1', substrate = dockerOf(engine)) {
  const state = await world.state(id);
  await carryOut(substrate, substrateActions({ ...state, lans: [], deckies: [], edges: [] }, state), openFence());
}

/** The negative control: a substrate that asks nobody, and for which every claim is the newest. */
export function unfenced(substrate: Substrate): Substrate {
  const fence = openFence(Number.MAX_SAFE_INTEGER);
  return {
    ...substrate,
    ensureNetwork: (network) => substrate.ensureNetwork(network, fence),
    removeNetwork: (network) => substrate.removeNetwork(network, fence),
    ensureDecky: (decky) => substrate.ensureDecky(decky, fence),
    removeDecky: (decky) => substrate.removeDecky(decky, fence),
  };
}

/** A place where an actor sleeps until it is woken. */
export function pause() {
  const reached = Promise.withResolvers<void>();
  const woken = Promise.withResolvers<void>();
  let isFirst = true;
  return {
    /** Resolves when somebody sleeps here. */
    reached: reached.promise,
    wake: () => woken.resolve(),
    /** To be called by the actor: the first who comes sleeps. */
    async here(): Promise<boolean> {
      const sleeps = isFirst;
      isFirst = false;
      if (sleeps) {
        reached.resolve();
        await woken.promise;
      }
      return sleeps;
    },
  };
}

/** What a decky runs, as far as the engine knows: each container's services. */
export const servicesOf = (engine: FakeEngine, name: string): (string | undefined)[] =>
  containersOf(engine, name).map(({ labels }) => labels['decnet.services']);

export const containersOf = (engine: FakeEngine, name: string): FakeContainer[] =>
  [...engine.containers.values()].filter(({ labels }) => labels['decnet.name'] === name);
