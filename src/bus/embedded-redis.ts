import { existsSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import type { Log } from '../telemetry/log.ts';

/** A private redis-server child. */
export interface EmbeddedRedis {
  /** Path of its UNIX socket. */
  readonly socket: string;
  /** Resolves when the child has ended, asked or not. */
  readonly exited: Promise<number>;
  /** Saves and ends it; safe to call twice. */
  stop(): Promise<void>;
}

// sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, with the closing NUL.
const MAX_SOCKET_PATH = 100;

/**
 * Starts `redis-server` with its append-only file under `<dataDir>/redis`. Nobody but this user can reach it: it listens
 * on a UNIX socket only.
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
  const child = Bun.spawn(
    [
      command,
      ...['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--dir', folder],
      ...['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '', '--maxmemory-policy', 'noeviction'],
    ],
    // A group of its own: Ctrl-C in the terminal would otherwise stop it before the server has drained.
    { stdout: 'ignore', stderr: 'ignore', detached: true },
  );
  const stop = async () => {
    child.kill('SIGTERM');
    await child.exited;
    await removeSocket();
  };
  try {
    await ready(socket, child.exited);
  } catch (error) {
    await stop();
    throw error;
  }
  log.info('embedded redis started', { pid: child.pid });
  return { socket, exited: child.exited, stop };
}

async function socketPath(folder: string): Promise<{ socket: string; removeSocket(): Promise<void> }> {
  const socket = join(folder, 'redis.sock');
  if (Buffer.byteLength(socket) <= MAX_SOCKET_PATH) {
    return { socket, removeSocket: () => rm(socket, { force: true }) };
  }
  const short = await mkdtemp(join(tmpdir(), 'decnet-'));
  return { socket: join(short, 'redis.sock'), removeSocket: () => rm(short, { recursive: true, force: true }) };
}

async function ready(socket: string, exited: Promise<number>): Promise<void> {
  let ended: number | undefined;
  exited.then((code) => {
    ended = code;
  });
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    if (ended !== undefined) {
      throw new Error(`redis-server ended at once (exit code ${ended}); is another server using the same data folder?`);
    }
    if (existsSync(socket) && (await answersPing(socket))) return;
    await Bun.sleep(10);
  }
  throw new Error('redis-server did not become ready within 30 s');
}

async function answersPing(socket: string): Promise<boolean> {
  const client = new Redis({ path: socket, lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on('error', () => {}); // The loop in `ready` asks again.
  try {
    await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}
