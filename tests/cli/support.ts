import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { until } from '../support/until.ts';

export const PROGRAM = resolve(import.meta.dir, '../../src/cli/decnet-live.ts');

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Running {
  /** Lines of standard output so far. */
  readonly lines: readonly string[];
  readonly err: string;
  readonly pid: number;
  untilLines(count: number): Promise<readonly string[]>;
  untilNote(text: string): Promise<void>;
  write(text: string): void;
  endInput(): void;
  signal(signal: NodeJS.Signals): void;
  /** Waits for its end. */
  ended(): Promise<Ran>;
}

/** The program, as somebody with a home of their own calls it. */
export class Caller {
  readonly #env: Record<string, string>;
  readonly #running = new Set<Bun.Subprocess>();
  readonly home: string;

  constructor(home: string, env: Record<string, string>) {
    this.home = home;
    this.#env = env;
  }

  static async create(env: Record<string, string> = {}): Promise<Caller> {
    return new Caller(await mkdtemp(join(tmpdir(), 'decnet-cli-')), env);
  }

  /** Runs it to its end. @param input what is in its standard input */
  async run(args: readonly string[], { input = '', env = {} }: { input?: string; env?: Record<string, string> } = {}) {
    const running = this.start(args, env);
    running.write(input);
    running.endInput();
    return running.ended();
  }

  start(args: readonly string[], env: Record<string, string> = {}): Running {
    const child = Bun.spawn([process.execPath, PROGRAM, ...args], {
      cwd: this.home,
      env: { PATH: process.env.PATH, HOME: this.home, XDG_CONFIG_HOME: `${this.home}/config`, ...this.#env, ...env },
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
    });
    this.#running.add(child);
    const said = { out: '', err: '' };
    const reading = Promise.all([
      read(child.stdout, (text) => {
        said.out += text;
      }),
      read(child.stderr, (text) => {
        said.err += text;
      }),
    ]);
    const lines = () => said.out.split('\n').slice(0, -1);
    return {
      get lines() {
        return lines();
      },
      get err() {
        return said.err;
      },
      pid: child.pid,
      async untilLines(count) {
        await until(`${count} lines; it said ${said.err}`, () => lines().length >= count, 20_000);
        return lines();
      },
      async untilNote(text) {
        await until(`'${text}'; it said ${said.err}`, () => said.err.includes(text), 20_000);
      },
      write: (text) => void child.stdin.write(text),
      endInput: () => void child.stdin.end(),
      signal: (signal) => child.kill(signal),
      async ended() {
        const code = await child.exited;
        await reading;
        return { code, ...said };
      },
    };
  }

  async stop(): Promise<void> {
    for (const child of this.#running) child.kill('SIGKILL');
    await Promise.all([...this.#running].map(({ exited }) => exited));
    await rm(this.home, { recursive: true, force: true });
  }
}

async function read(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}
