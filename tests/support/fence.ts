import type { DeckyKey, Fence, Substrate, SubstrateDecky, SubstrateNetwork } from '../../src/substrate/substrate.ts';

/** A fence that always lets pass: of a claim that nobody else wants. */
export const openFence = (token = 1): Fence => ({ token, admit: async () => 60_000 });

/** A substrate as one actor uses it, all under one claim. */
export const under = (substrate: Substrate, fence = openFence()) => ({
  ensureNetwork: (network: SubstrateNetwork) => substrate.ensureNetwork(network, fence),
  removeNetwork: (network: SubstrateNetwork) => substrate.removeNetwork(network, fence),
  ensureDecky: (decky: SubstrateDecky) => substrate.ensureDecky(decky, fence),
  removeDecky: (decky: DeckyKey) => substrate.removeDecky(decky, fence),
});
