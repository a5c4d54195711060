import { mkdirSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { lockFolder } from './folder-lock.ts';
import { privateSocket } from './private-socket.ts';
import { RedisChild } from './redis-child.ts';
import { endOrphan, pidFile, within } from './redis-orphan.ts';
import { pingRedis } from './redis-ping.ts';
import { WakeableSleep } from './wake.ts';

/** A private redis-server child. */
export interface EmbeddedRedis {
  /** Path of its UNIX socket: the same at each start on this folder. */
  readonly socket: string;
  /** Saves and ends it, and gives the folder free; safe to call twice. */
  stop(): Promise<void>;
}

/** How long things may take, in milliseconds. */
export interface EmbeddedRedisLimits {
  /** A server that was left behind ends by itself within this, or is killed. */
  readonly orphanMs: number;
  /** A server that answers nothing for so long is told in the log. */
  readonly silenceMs: number;
}

const LIMITS: EmbeddedRedisLimits = { orphanMs: 3000, silenceMs: 10_000 };
/** From one look to the next whether it answers. */
const WATCH_MS = 5000;
/** Before it is started again: doubled from try to try, until it has run for a while. */
const RESTART_DELAY_MS = 200;
const MAX_RESTART_DELAY_MS = 10_000;
const SOUND_MS = 30_000;

/**
 * Starts `redis-server` with its append-only file under `<dataDir>/redis`, and again whenever it ends unasked. Nobody but
 * this user can reach it: it listens on a UNIX socket only. The folder has one owner at a time, and one server: whatever a
 * killed owner left running is ended first, since two on one append-only file would corrupt it.
 * @throws when another process owns the folder, when `redis-server` is missing, says nothing for 30 s or ends at once
 */
export async function startEmbeddedRedis(
  dataDir: string,
  logger: Log,
  limits: Partial<EmbeddedRedisLimits> = {},
): Promise<EmbeddedRedis> {
  const command = Bun.which('redis-server');
  if (command === null) {
    throw new Error('redis-server is not installed: run ./scripts/dev once, or set REDIS_URL to a running Redis');
  }
  mkdirSync(resolve(dataDir, 'redis'), { recursive: true, mode: 0o700 });
  const folder = realpathSync(resolve(dataDir, 'redis'));
  const unlock = lockFolder(folder);
  if (unlock === undefined) {
    throw new Error(
      `another decnet-live runs an embedded Redis on ${folder}: stop it, set DECNET_DATA_DIR to a folder of this ` +
        `one's own, or set REDIS_URL to share a Redis`,
    );
  }
  try {
    const { orphanMs, silenceMs } = { ...LIMITS, ...limits };
    const socket = privateSocket(folder);
    await endOrphan(folder, orphanMs, logger);
    // Whoever has lost its record; or a server that is none of ours.
    if (!(await within(1000, async () => (await pingRedis(socket, 1000)) === 'absent'))) {
      throw new Error(`an unknown server listens on ${socket}: end it, or set REDIS_URL to it`);
    }
    const supervisor = new Supervisor(() => new RedisChild(command, folder, socket, logger), socket, silenceMs, logger);
    await supervisor.start();
    let stopping: Promise<void> | undefined;
    const stop = async () => {
      await supervisor.stop();
      await Promise.all([socket, pidFile(folder)].map((file) => rm(file, { force: true })));
      unlock();
    };
    return {
      socket,
      stop() {
        stopping ??= stop();
        return stopping;
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

/** Keeps one child running. */
class Supervisor {
  readonly #spawn: () => RedisChild;
  readonly #socket: string;
  readonly #silenceMs: number;
  readonly #logger: Log;
  readonly #restartDelay = new WakeableSleep();
  #child: RedisChild | undefined;
  #running: Promise<void> | undefined;
  #isStopping = false;

  constructor(spawn: () => RedisChild, socket: string, silenceMs: number, logger: Log) {
    this.#spawn = spawn;
    this.#socket = socket;
    this.#silenceMs = silenceMs;
    this.#logger = logger;
  }

  async start(): Promise<void> {
    const child = await this.#startChild();
    this.#running = this.#supervise(child);
  }

  /** @throws when the child cannot be ended */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#restartDelay.wake();
    await this.#child?.end();
    await this.#running;
  }

  async #startChild(): Promise<RedisChild> {
    await this.#child?.end(0); // One that could not be killed when it failed to start is still there.
    const child = this.#spawn();
    this.#child = child;
    await child.ready();
    this.#logger.info('embedded redis started', { pid: child.pid });
    return child;
  }

  async #supervise(first: RedisChild): Promise<void> {
    let delayMs = RESTART_DELAY_MS;
    for (let child: RedisChild | undefined = first; ; ) {
      if (child !== undefined) {
        const since = performance.now();
        const reason = await this.#untilEnded(child);
        if (this.#isStopping) return;
        this.#logger.error('embedded redis ended unasked; starting it again', { reason });
        if (performance.now() - since > SOUND_MS) delayMs = RESTART_DELAY_MS;
      }
      await this.#restartDelay.sleep(delayMs);
      if (this.#isStopping) return;
      delayMs = Math.min(delayMs * 2, MAX_RESTART_DELAY_MS);
      child = await this.#startChild().catch((error) => this.#couldNotStart(error));
      if (this.#isStopping) return;
    }
  }

  #couldNotStart(error: unknown): undefined {
    if (this.#isStopping) return;
    this.#logger.error('embedded redis could not be started; trying again', { error: describeError(error) });
  }

  /**
   * One that is silent is not killed: what holds it up (a disk, a long script, somebody's SIGSTOP) holds up the next one as
   * well, which has to load all its data first. Whoever needs it has limits of their own.
   */
  async #untilEnded(child: RedisChild): Promise<string> {
    const watch = new WakeableSleep();
    let isOver = false;
    const ended = child.ended().finally(() => {
      isOver = true;
      watch.wake();
    });
    let isSilent = false;
    while (!isOver) {
      await watch.sleep(Math.min(WATCH_MS, this.#silenceMs));
      if (isOver) break;
      const state = await pingRedis(this.#socket, this.#silenceMs);
      if (isOver || isSilent === (state !== 'ready')) continue;
      isSilent = !isSilent;
      if (isSilent) this.#logger.error('embedded redis does not answer; it is left alone', { pid: child.pid, state });
      else this.#logger.warn('embedded redis answers again', { pid: child.pid });
    }
    return ended;
  }
}
