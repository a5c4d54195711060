import { within } from '../bus/within.ts';
import { AppError } from '../errors.ts';
import type { WorkerName } from './registry.ts';

export interface SupervisorOptions {
  /** The program that starts a worker and its arguments; `{worker}` stands for the worker's name. */
  readonly command: readonly string[];
  /** Whom it can start. */
  readonly workers: readonly WorkerName[];
  /** Milliseconds after which it is killed; default 10,000. */
  readonly timeoutMs?: number;
}

/** How the worker's name is written in the command. */
export const PLACEHOLDER = '{worker}';
const TIMEOUT_MS = 10_000;
/** Its output is waited for so long after its end. */
const OUTPUT_MS = 250;
/** Of what it says when it fails, in characters. */
const MAX_REASON = 200;
/** Read of that, in bytes; the rest is left where it is. */
const MAX_STDERR = 4096;
/** What it needs of this process's environment, which holds secrets that are none of its business. */
const PASSED_ON = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS'];

/**
 * Starts workers by a command of the operator's, without a shell. The name is one of a fixed list, so that nothing of a
 * request becomes part of a command line.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #starting = new Map<WorkerName, Promise<void>>();

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  canStart(name: WorkerName): boolean {
    return this.#options.workers.includes(name);
  }

  /**
   * Starts a worker. Asked again meanwhile, the answer is that of the start under way.
   * @throws {AppError} `bad_gateway` with the first line of what the command said, when it failed or took too long
   */
  start(name: WorkerName): Promise<void> {
    const underWay = this.#starting.get(name);
    if (underWay !== undefined) return underWay;
    const starting = this.#run(name).finally(() => this.#starting.delete(name));
    this.#starting.set(name, starting);
    return starting;
  }

  async #run(name: WorkerName): Promise<void> {
    const command = this.#options.command.map((word) => word.replaceAll(PLACEHOLDER, name));
    const timeout = this.#options.timeoutMs ?? TIMEOUT_MS;
    const env = Object.fromEntries(PASSED_ON.flatMap((key) => (process.env[key] ? [[key, process.env[key]]] : [])));
    let child: ReturnType<typeof spawn>;
    try {
      child = spawn(command, env, timeout);
    } catch {
      throw new AppError('bad_gateway', 'The supervisor command cannot be run; see DECNET_SUPERVISOR_COMMAND');
    }
    const reader = child.stderr.getReader();
    const said = firstLine(() => reader.read());
    const code = await child.exited;
    // What it has started may hold on to its output for ever.
    const line = await within(said, OUTPUT_MS, 'its output').catch(() => '');
    await reader.cancel().catch(() => {});
    if (code === 0) return;
    if (child.signalCode !== null) throw new AppError('bad_gateway', `Starting ${name} took longer than ${timeout} ms`);
    throw new AppError('bad_gateway', line || `The supervisor command failed with code ${code}`);
  }
}

function spawn(command: readonly string[], env: Record<string, string | undefined>, timeout: number) {
  return Bun.spawn([...command], {
    env,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
    timeout,
    killSignal: 'SIGKILL',
  });
}

interface Chunk {
  readonly done: boolean;
  readonly value?: Uint8Array | undefined;
}

/** @returns once there is a line, or no more comes */
async function firstLine(read: () => Promise<Chunk>): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for (let bytes = 0; bytes < MAX_STDERR && !text.trimStart().includes('\n'); ) {
    const { done, value } = await read();
    if (done || value === undefined) break;
    bytes += value.length;
    text += decoder.decode(value, { stream: true });
  }
  return (text.trimStart().split('\n')[0] ?? '').trim().slice(0, MAX_REASON).toWellFormed();
}
