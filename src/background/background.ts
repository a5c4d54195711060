import { fileURLToPath } from 'node:url';
import { WakeableSleep } from '../bus/wake.ts';
import { within } from '../bus/within.ts';
import type { Config } from '../config.ts';
import { describeError } from '../errors.ts';
import type { Check } from '../health/routes.ts';
import type { Log } from '../telemetry/log.ts';
import type { FromBackground, ToBackground } from './messages.ts';

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));
/** From one look whether it lives to the next. */
const PING_MS = 5000;
/** It may do nothing but one thing for so long; whatever takes longer holds up more than itself. */
const SILENT_MS = 60_000;
/** It may take so long to finish its transactions; each part of a process has 15 s. */
const STOP_MS = 10_000;
const KILL_MS = 3000;
/** Before it is started again: doubled from try to try, until one has run for a while. */
const RESTART_MS = { first: 200, most: 10_000 } as const;
const SOUND_MS = 30_000;

export interface BackgroundOptions {
  readonly pingMs: number;
  readonly silentMs: number;
  /** What is run, with its arguments. */
  readonly command: readonly string[];
}

/** A child process with roles of its own, started again whenever it ends unasked. It keeps nothing that another could not read. */
export class Background {
  readonly #config: Config;
  readonly #logger: Log;
  readonly #options: BackgroundOptions;
  readonly #pause = new WakeableSleep();
  #child: Bun.Subprocess<'ignore', 'inherit', 'inherit'> | undefined;
  #state: 'starting' | 'running' | 'ended' = 'starting';
  #restarts = 0;
  #heardAt = 0;
  #running: Promise<void> | undefined;
  #isStopping = false;

  /** @param config of the child: all that it needs, a Redis included */
  constructor(config: Config, logger: Log, options: Partial<BackgroundOptions> = {}) {
    this.#config = config;
    this.#logger = logger;
    this.#options = { pingMs: PING_MS, silentMs: SILENT_MS, command: [process.execPath, CHILD], ...options };
  }

  /** Always ok: without it rows are late, but no stream is, and no other node would do better. For people to look at. */
  check(): Check {
    return { ok: true, state: this.#state, pid: this.#child?.pid ?? null, restarts: this.#restarts };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends after the transactions under way, or by force. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#pause.wake();
    const child = this.#child;
    if (child !== undefined) await this.#end(child);
    await this.#running;
  }

  async #run(): Promise<void> {
    let delayMs: number = RESTART_MS.first;
    while (!this.#isStopping) {
      const since = performance.now();
      // Not even to be started, where memory or processes have run out, is no reason for the parent to end.
      const how = await this.#oneLife().catch(describeError);
      this.#state = 'ended';
      if (this.#isStopping) return;
      this.#logger.error('the background process ended unasked; starting it again', { how });
      if (performance.now() - since > SOUND_MS) delayMs = RESTART_MS.first;
      await this.#pause.sleep(delayMs);
      delayMs = Math.min(delayMs * 2, RESTART_MS.most);
      this.#restarts += 1;
    }
  }

  /** @returns how it ended */
  async #oneLife(): Promise<string> {
    this.#state = 'starting';
    this.#heardAt = performance.now();
    const child = Bun.spawn([...this.#options.command], {
      // A group of its own: Ctrl-C in the terminal is for the parent, which tells it.
      detached: true,
      stdin: 'ignore',
      stdout: 'inherit',
      stderr: 'inherit',
      serialization: 'advanced',
      ipc: (message: FromBackground) => this.#hear(message),
    });
    this.#child = child;
    this.#say(child, { kind: 'start', config: this.#config });
    const watch = setInterval(() => this.#watch(child), this.#options.pingMs);
    try {
      await child.exited;
      return `${child.signalCode ?? `exit code ${child.exitCode}`}`;
    } finally {
      clearInterval(watch);
      this.#child = undefined;
    }
  }

  #hear(message: FromBackground): void {
    this.#heardAt = performance.now();
    if (message.kind === 'ready') this.#state = 'running';
    if (message.kind === 'log')
      this.#logger[message.level](message.message, { ...message.fields, process: 'background' });
  }

  #watch(child: Bun.Subprocess): void {
    if (performance.now() - this.#heardAt > this.#options.silentMs) {
      this.#logger.error('the background process does nothing any more; killing it', { pid: child.pid });
      child.kill('SIGKILL');
      return;
    }
    this.#say(child, { kind: 'ping' });
  }

  #say(child: Bun.Subprocess, message: ToBackground): void {
    try {
      child.send(message);
    } catch (error) {
      // It is ending; how it ended is told when it has.
      this.#logger.debug('the background process does not listen', { error: describeError(error) });
    }
  }

  async #end(child: Bun.Subprocess): Promise<void> {
    this.#say(child, { kind: 'stop' });
    try {
      await within(child.exited, STOP_MS, 'the end of the background process');
    } catch {
      this.#logger.warn('the background process does not end by itself; killing it', { pid: child.pid });
      child.kill('SIGKILL');
      await within(child.exited, KILL_MS, 'the end of the background process');
    }
  }
}
