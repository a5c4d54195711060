import { until } from '../support/until.ts';
import type { Sabotage } from './server.ts';

/** A server process. */
export interface NodeProcess {
  readonly url: string;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
}

/** Starts a node as a process of its own and waits until it listens. */
export async function startNode(env: Record<string, string>, without?: Sabotage): Promise<NodeProcess> {
  const child = Bun.spawn(
    ['bun', `${import.meta.dir}/server.ts`, ...(without === undefined ? [] : [`--without=${without}`])],
    { env: { ...process.env, ...env }, stdout: 'pipe', stderr: 'inherit' },
  );
  let output = '';
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of child.stdout) output += decoder.decode(chunk);
  })();
  const url = await until('a node that listens', () => {
    if (child.exitCode !== null) throw new Error(`the node ended: ${output}`);
    return /"message":"listening","url":"([^"]+)"/.exec(output)?.[1];
  });
  return {
    url,
    async kill() {
      child.kill('SIGKILL');
      await child.exited;
      await reading;
    },
  };
}

/** Mulberry32: a small generator whose sequence a seed decides. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
