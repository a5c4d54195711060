import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { recordSubstrate } from '../../../src/substrate/record.ts';
import type { Substrate } from '../../../src/substrate/substrate.ts';

/**
 * A substrate whose networks and deckies are files: they outlive the process that made them.
 * @param step called before and after each change
 */
export function fileSubstrate(folder: string, step: () => void = () => {}): Substrate {
  const path = (id: string) => join(folder, encodeURIComponent(id));
  const write = (id: string, value: unknown) => {
    step();
    writeFileSync(path(id), JSON.stringify(value));
    step();
  };
  const remove = (id: string) => {
    step();
    rmSync(path(id), { force: true });
    step();
  };
  return {
    ...recordSubstrate,
    // Nobody fights for a record.
    name: 'docker',
    async ensureNetwork(network) {
      write(network.lanId, network);
      return null;
    },
    removeNetwork: async ({ lanId }) => remove(lanId),
    ensureDecky: async (decky) => write(decky.uuid, decky),
    removeDecky: async ({ uuid }) => remove(uuid),
  };
}

/** Everything of a topology that runs, in no order. */
export function runningIn(folder: string, topologyId: string): string[] {
  return readdirSync(folder)
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .filter((text) => text.includes(`"topologyId":"${topologyId}"`))
    .sort();
}
