import { existsSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

/** A private redis-server child. */
export interface EmbeddedRedis {
  /** Path of its UNIX socket. */
  readonly socket: string;
  /** Saves and ends it; safe to call twice. */
  stop(): Promise<void>;
}

// sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, with the closing NUL.
const MAX_SOCKET_PATH = 100;
const RESTART_DELAY_MS = 200;

/**
 * Starts `redis-server` with its append-only file under `<dataDir>/redis`, and again whenever it ends unasked. Nobody but
 * this user can reach it: it listens on a UNIX socket only. A child that outlived a killed parent is taken over: two
 * servers on one append-only file would corrupt it.
 * @throws when `redis-server` is missing or does not answer within 30 s (a long append-only file is loaded first)
 */
export async function startEmbeddedRedis(dataDir: string, log: Log): Promise<EmbeddedRedis> {
  const command = Bun.which('redis-server');
  if (command === null) {
    throw new Error('redis-server is not installed: run ./scripts/dev once, or set REDIS_URL to a running Redis');
  }
  const folder = resolve(dataDir, 'redis');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { socket, removeSocket } = await socketPath(folder);
  let child: Bun.Subprocess | undefined;
  let stopping: Promise<void> | undefined;

  const spawn = async () => {
    const spawned = Bun.spawn([command, ...redisArguments(socket, folder)], {
      // A group of its own: Ctrl-C in the terminal would otherwise stop it before the server has drained.
      detached: true,
      stdout: 'ignore',
      stderr: 'ignore',
    });
    child = spawned;
    try {
      await untilReady(socket, spawned);
    } catch (error) {
      // Never two servers on one append-only file.
      spawned.kill('SIGKILL');
      await spawned.exited;
      throw error;
    }
    log.info('embedded redis started', { pid: spawned.pid });
    void spawned.exited.then((code) => {
      if (stopping !== undefined) return;
      log.error('embedded redis ended unasked; starting it again', { code });
      void respawn();
    });
  };

  const respawn = async () => {
    while (stopping === undefined) {
      await Bun.sleep(RESTART_DELAY_MS);
      if (stopping !== undefined) return;
      try {
        return await spawn();
      } catch (error) {
        log.error('embedded redis could not be started; trying again', { error: describeError(error) });
      }
    }
  };

  const stop = async () => {
    if (child !== undefined) {
      child.kill('SIGTERM');
      await child.exited;
    } else {
      await shutdownByCommand(socket);
    }
    await removeSocket();
  };

  if (existsSync(socket) && (await answersPing(socket))) {
    log.warn('taking over the embedded redis of an earlier run that did not stop it');
  } else {
    await spawn().catch(async (error) => {
      stopping = stop();
      await stopping;
      throw error;
    });
  }
  return {
    socket,
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

function redisArguments(socket: string, folder: string): string[] {
  return [
    ...['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--dir', folder],
    // `always`: under `everysec` Redis answers before it has written while a sync is under way, and a crash then loses
    // events that were acknowledged and seen (redis.conf, appendfsync). Writes of one loop share a sync.
    ...['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--maxmemory-policy', 'noeviction'],
  ];
}

async function socketPath(folder: string): Promise<{ socket: string; removeSocket(): Promise<void> }> {
  const socket = join(folder, 'redis.sock');
  if (Buffer.byteLength(socket) <= MAX_SOCKET_PATH) {
    return { socket, removeSocket: () => rm(socket, { force: true }) };
  }
  const short = await mkdtemp(join(tmpdir(), 'decnet-'));
  return { socket: join(short, 'redis.sock'), removeSocket: () => rm(short, { recursive: true, force: true }) };
}

async function untilReady(socket: string, child: Bun.Subprocess): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`redis-server ended at once (exit code ${child.exitCode}); its data folder may be unusable`);
    }
    if (existsSync(socket) && (await answersPing(socket))) return;
    await Bun.sleep(10);
  }
  throw new Error('redis-server did not become ready within 30 s');
}

async function answersPing(socket: string): Promise<boolean> {
  try {
    return await withClient(socket, async (client) => (await client.ping()) === 'PONG');
  } catch {
    return false; // Not there, or still loading its data: asked again.
  }
}

/** Ends a server that is not our child. The connection breaks instead of answering: that is the answer. */
async function shutdownByCommand(socket: string): Promise<void> {
  await withClient(socket, (client) => client.call('SHUTDOWN')).catch(() => undefined);
}

async function withClient<T>(socket: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ path: socket, lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on('error', () => {}); // The rejected call says it.
  try {
    await client.connect();
    return await use(client);
  } finally {
    client.disconnect();
  }
}
