import type { Substrate } from './substrate.ts';

/** The default substrate: nothing runs, the database's record of the topology is all there is. */
export const recordSubstrate: Substrate = {
  name: 'record',
  ensureNetwork: async () => null,
  removeNetwork: async () => {},
  ensureDecky: async () => {},
  removeDecky: async () => {},
  owned: async () => [],
  removeOwned: async () => {},
};
