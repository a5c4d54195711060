import type { Substrate } from '../../src/substrate/substrate.ts';

/**
 * A substrate that writes down what it is asked for, as `ensureDecky gate`, and what runs.
 * @param hook runs before each call is answered; what it throws is the answer
 */
export function recordingSubstrate(hook: (call: string) => unknown = () => {}) {
  const calls: string[] = [];
  const running = new Set<string>();
  const note = async (call: string, then: () => void) => {
    calls.push(call);
    await hook(call);
    then();
  };
  const substrate: Substrate = {
    name: 'record',
    async ensureNetwork({ name }) {
      await note(`ensureNetwork ${name}`, () => running.add(`network ${name}`));
      return `id of ${name}`;
    },
    removeNetwork: ({ name }) => note(`removeNetwork ${name}`, () => running.delete(`network ${name}`)),
    ensureDecky: ({ name }) => note(`ensureDecky ${name}`, () => running.add(`decky ${name}`)),
    removeDecky: ({ name }) => note(`removeDecky ${name}`, () => running.delete(`decky ${name}`)),
  };
  return { substrate, calls, running };
}
