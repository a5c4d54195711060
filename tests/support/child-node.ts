import { resolve } from 'node:path';
import { until } from './until.ts';

const MAIN = resolve(import.meta.dir, '../../src/main.ts');
const START_LIMIT_MS = 20_000;

/** A node in a process of its own. */
export interface ChildNode {
  readonly url: string;
  readonly pid: number;
  /** SIGKILL: it cannot say goodbye to anyone. */
  kill(): Promise<void>;
  /** SIGTERM, unless it has ended; answers the exit code. */
  stop(): Promise<number>;
  /** Settles when the process has ended, whoever ended it. */
  readonly exited: Promise<number>;
}

/**
 * Runs `src/main.ts` as in production, and waits until it listens.
 * @param program another program, with its arguments, that starts a node
 * @param onOutput gets what it writes to its log
 */
export async function spawnNode(
  env: Record<string, string>,
  program: readonly string[] = [MAIN],
  onOutput: (text: string) => void = () => {},
): Promise<ChildNode> {
  const child = Bun.spawn([process.execPath, ...program], {
    env: { PATH: process.env.PATH, ...env },
    stdout: 'pipe',
    stderr: 'inherit',
  });
  let url: string | undefined;
  let said = '';
  const read = async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      const text = decoder.decode(chunk, { stream: true });
      onOutput(text); // Read on, so that it never waits for its log.
      if (url !== undefined) continue;
      said += text;
      url = /"message":"listening","url":"([^"]+)"/.exec(said)?.[1];
    }
  };
  void read();
  const ended = async (signal: 'SIGKILL' | 'SIGTERM') => {
    child.kill(signal);
    return child.exited;
  };
  try {
    await until('a node to listen', () => url ?? child.exitCode !== null, START_LIMIT_MS);
    if (url === undefined) throw new Error(`a node ended instead of listening; it said: ${said}`);
  } catch (error) {
    await ended('SIGKILL');
    throw error;
  }
  return {
    url,
    pid: child.pid,
    kill: () => ended('SIGKILL').then(() => undefined),
    stop: () => ended('SIGTERM'),
    exited: child.exited,
  };
}
