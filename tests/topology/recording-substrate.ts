import { recordSubstrate } from '../../src/substrate/record.ts';
import type { Fence, Substrate } from '../../src/substrate/substrate.ts';

/**
 * A substrate that writes down what it is asked for, as `ensureDecky gate`, and what runs.
 * @param hook runs before each call is answered; what it throws is the answer
 */
export function recordingSubstrate(hook: (call: string) => unknown = () => {}) {
  const calls: string[] = [];
  const running = new Set<string>();
  const note = async (call: string, fence: Fence, then: () => void) => {
    calls.push(call);
    await hook(call);
    await fence.admit();
    then();
  };
  const substrate: Substrate = {
    ...recordSubstrate,
    // Nobody fights for a record.
    name: 'docker',
    async ensureNetwork({ name }, fence) {
      await note(`ensureNetwork ${name}`, fence, () => running.add(`network ${name}`));
      return `id of ${name}`;
    },
    removeNetwork: ({ name }, fence) => note(`removeNetwork ${name}`, fence, () => running.delete(`network ${name}`)),
    ensureDecky: ({ name }, fence) => note(`ensureDecky ${name}`, fence, () => running.add(`decky ${name}`)),
    removeDecky: ({ name }, fence) => note(`removeDecky ${name}`, fence, () => running.delete(`decky ${name}`)),
  };
  return { substrate, calls, running };
}
