import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { connected, type RedisConnections } from '../../src/bus/redis.ts';
import { pidFile } from '../../src/bus/redis-orphan.ts';
import { quiet } from './database.ts';

export interface TestRedis {
  /** For `REDIS_URL`: the path of its UNIX socket. It stays the same over {@link TestRedis.restart}. */
  readonly url: string;
  /** A connected client that `stop` disconnects. */
  client(): Redis;
  /** Ends the server (SIGTERM: everything is on disk) and leaves it down. */
  down(): Promise<void>;
  /** Starts it again on the same data and socket. */
  up(): Promise<void>;
  /** Copies what it holds; {@link TestRedis.restore} puts the newest copy back. */
  backup(): Promise<void>;
  /** While it is down: from the next start it holds what it held at the last backup, and nothing since. */
  restore(): Promise<void>;
  /** It accepts connections and answers nothing (SIGSTOP), until {@link TestRedis.resume}. */
  pause(): Promise<void>;
  resume(): void;
  stop(): Promise<void>;
}

/** Every connection is there. */
export async function whenReady({ commands, replay }: RedisConnections): Promise<void> {
  await Promise.all([commands, ...replay].map((client) => connected(client, 20_000)));
}

/** A private redis-server with an append-only file, in a folder of its own. */
export async function startTestRedis(): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'decnet-redis-'));
  let server = await startEmbeddedRedis(folder, quiet);
  const clients: Redis[] = [];
  const [data, copy] = [join(folder, 'redis', 'appendonlydir'), join(folder, 'backup')];
  let pausedPid: number | undefined;
  const resume = () => {
    if (pausedPid !== undefined) process.kill(pausedPid, 'SIGCONT');
    pausedPid = undefined;
  };
  return {
    url: server.socket,
    client() {
      const client = new Redis({ path: server.socket, retryStrategy: () => 50 });
      client.on('error', () => {}); // Tests take the server away on purpose.
      clients.push(client);
      return client;
    },
    down: () => server.stop(),
    async up() {
      server = await startEmbeddedRedis(folder, quiet);
    },
    // The file may be copied as it is: what Redis has answered, it has synced.
    async backup() {
      await rm(copy, { recursive: true, force: true });
      await cp(data, copy, { recursive: true });
    },
    async restore() {
      await rm(data, { recursive: true });
      await cp(copy, data, { recursive: true });
    },
    async pause() {
      const pid = Number(await readFile(pidFile(join(folder, 'redis')), 'utf8'));
      process.kill(pid, 'SIGSTOP');
      pausedPid = pid;
    },
    resume,
    async stop() {
      resume(); // One that is stopped does not end.
      for (const client of clients) client.disconnect();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
