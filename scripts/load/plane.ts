import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { seedDemo } from '../../src/demo/seed.ts';
import { ensureDemoUsers } from '../../src/demo/users.ts';
import { createLog } from '../../src/telemetry/log.ts';

/** Everything that is measured: a server in a process of its own, with Redis and a database of its own. */
export interface Plane {
  readonly url: string;
  readonly serverPid: number;
  /** The server, and its background process where it has one. */
  readonly serverPids: readonly number[];
  /** Path of the socket of Redis. */
  readonly redisUrl: string;
  readonly redis: Redis;
  readonly redisPid: number;
  /** The access token of an administrator. */
  readonly token: string;
  readonly username: string;
  readonly password: string;
  /** An active topology with data. */
  readonly topologyId: string;
  readonly maxEvents: number;
  /** Open streams, as the server counts them. */
  streams(): Promise<number>;
}

/** What has been started, and how it is stopped again: in reverse order, each once. */
export class Stops {
  readonly #stops: (() => unknown)[] = [];
  #stopping: Promise<void> | undefined;

  add(stop: () => unknown): void {
    this.#stops.push(stop);
  }

  run(): Promise<void> {
    this.#stopping ??= this.#run();
    return this.#stopping;
  }

  async #run(): Promise<void> {
    for (let stop = this.#stops.pop(); stop !== undefined; stop = this.#stops.pop()) {
      await Promise.resolve(stop()).catch((error: unknown) => console.error(`stopping: ${error}`));
    }
  }
}

const REPOSITORY = resolve(import.meta.dir, '../..');
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;
const MAX_EVENTS = 100_000;

/**
 * @param stops receives how to stop what was started, as it is started
 * @param profile folder for a CPU profile of the server
 */
export async function startPlane(stops: Stops, profile?: string): Promise<Plane> {
  const quiet = createLog('error');
  const folder = await mkdtemp(join(tmpdir(), 'decnet-load-'));
  stops.add(() => rm(folder, { recursive: true, force: true }));
  const database = `sqlite:${folder}/decnet.sqlite`;
  const { topologyId, username, password } = await seed(database);

  const server = await startEmbeddedRedis(folder, quiet);
  stops.add(() => server.stop());
  const redis = new Redis({ path: server.socket });
  redis.on('error', () => {}); // A call in progress says it.
  stops.add(() => redis.disconnect());

  const { pid, url } = await startServer(folder, database, server.socket, stops, profile);
  return {
    ...{
      url,
      serverPid: pid,
      serverPids: await processesOf(pid, url),
      redisUrl: server.socket,
      redis,
      topologyId,
      maxEvents: MAX_EVENTS,
    },
    ...{ username, password },
    redisPid: Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]),
    token: await login(url, username, password),
    async streams() {
      return (await ready(url)).streams;
    },
  };
}

async function seed(database: string) {
  const db = openDatabase(database, createLog('error'));
  try {
    await migrate(db, 'sqlite');
    await seedDemo(db, Date.now());
    const [admin] = await ensureDemoUsers(db, [{ username: 'admin', role: 'admin' }]);
    const active = db.selectFrom('topologies').select('id').where('status', '=', 'active').orderBy('id');
    const topology = await active.executeTakeFirstOrThrow();
    if (admin === undefined) throw new Error('the administrator was there already');
    return { topologyId: topology.id, username: admin.username, password: admin.password };
  } finally {
    await db.destroy();
  }
}

async function startServer(folder: string, database: string, redisSocket: string, stops: Stops, profile?: string) {
  const preload = join(import.meta.dir, 'collect-garbage.ts');
  const profiling = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const child = Bun.spawn([process.execPath, ...profiling, '--preload', preload, join(REPOSITORY, 'src/main.ts')], {
    cwd: folder, // Where no `.env` lies: the settings are these and the defaults.
    // A group of its own: Ctrl-C in the terminal must not stop it before the bench does.
    detached: true,
    env: {
      PATH: process.env.PATH,
      ...(process.env.ROLES === undefined ? {} : { ROLES: process.env.ROLES }),
      DATABASE_URL: database,
      REDIS_URL: redisSocket,
      DECNET_API_PORT: '0',
      DECNET_DATA_DIR: folder,
      DECNET_JWT_SECRET: Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex'),
      DECNET_LIMITER_ENABLED: 'false',
      DECNET_LOG_MAX_EVENTS: String(MAX_EVENTS),
      DECNET_SSE_MAX_PER_USER: '1000000',
      DECNET_WEBHOOK_ALLOW_PRIVATE: 'true',
    },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  stops.add(async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
    await child.exited;
    clearTimeout(timer);
  });
  const { promise, resolve: listening, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error('the server did not start in time')), START_LIMIT_MS);
  void followLog(child.stdout, listening).then(() => reject(new Error('the server ended')));
  const url = await promise.finally(() => clearTimeout(timer));
  return { pid: child.pid, url };
}

interface Ready {
  readonly streams: number;
  readonly checks: { readonly background?: { readonly state: string; readonly pid: number | null } };
}

async function ready(url: string): Promise<Ready> {
  return JSON.parse(await (await fetch(`${url}/readyz`)).text());
}

/** Waits for the background process, where there is one. */
async function processesOf(server: number, url: string): Promise<number[]> {
  for (;;) {
    const { background } = (await ready(url)).checks;
    if (background === undefined) return [server];
    if (background.state === 'running' && background.pid !== null) return [server, background.pid];
    await Bun.sleep(50);
  }
}

/** Reads the server's log to its end: takes the address from it and passes on warnings. */
async function followLog(output: ReadableStream<Uint8Array>, onListening: (url: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of output) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const entry: { level?: string; message?: string; url?: string } = JSON.parse(line);
      if (entry.message === 'listening' && entry.url !== undefined) onListening(entry.url);
      else if (entry.level !== 'info') console.error(`server: ${line}`);
    }
  }
}

async function login(url: string, username: string, password: string): Promise<string> {
  const response = await fetch(`${url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  if (!response.ok) throw new Error(`signing in failed with ${response.status}`);
  const session: { access_token: string } = JSON.parse(await response.text());
  return session.access_token;
}
