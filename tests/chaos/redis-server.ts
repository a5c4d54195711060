import { mkdtemp, readdir, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { until } from '../support/until.ts';

/** A moment in the life of a Redis: so much of its append-only file was written. */
export interface Moment {
  readonly file: string;
  readonly bytes: number;
}

/** What a crash may take: `always` nothing that was acknowledged, `everysec` the writes of the last second or two. */
export type Fsync = 'always' | 'everysec';

/**
 * A redis-server of the storm's own, on a UNIX socket, that is killed, stopped and put back to an earlier moment. An
 * append-only file only grows, so its first bytes are what a backup of that moment would hold.
 */
export class RedisServer {
  readonly socket: string;
  /** Comes back by itself after each restart. */
  readonly client: Redis;
  readonly #folder: string;
  #child: Bun.Subprocess | undefined;
  #fsync: Fsync = 'always';
  #stopped = false;

  private constructor(folder: string) {
    this.#folder = folder;
    this.socket = join(folder, 'redis.sock');
    this.client = connect(this.socket);
  }

  static async start(): Promise<RedisServer> {
    const server = new RedisServer(await mkdtemp(join(tmpdir(), 'storm-redis-')));
    await server.up();
    return server;
  }

  get fsync(): Fsync {
    return this.#fsync;
  }

  /** Starts it on the data that is there, and waits until it answers. */
  async up(fsync: Fsync = this.#fsync): Promise<void> {
    this.#fsync = fsync;
    this.#spawn(this.socket);
    await answering(this.client);
  }

  /** Starts it where nobody else finds it, and ends it again. It must be down. */
  async inSecret(look: (client: Redis) => Promise<void>): Promise<void> {
    const socket = join(this.#folder, 'secret.sock');
    const child = this.#spawn(socket);
    const client = connect(socket);
    try {
      await answering(client);
      await look(client);
    } finally {
      client.disconnect();
      child.kill('SIGKILL');
      await child.exited;
    }
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#child?.exited;
    await until('the loss to be noticed', () => this.client.status !== 'ready');
  }

  /** It stays connected and answers nothing, as a machine that hangs or swaps. */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async moment(): Promise<Moment> {
    const file = await this.#growingFile();
    return { file, bytes: (await stat(file)).size };
  }

  /** Puts the data back to what it was; a moment of before {@link compact} cannot be. It must be down. */
  async putBack({ file, bytes }: Moment): Promise<void> {
    const now = await this.moment();
    if (file !== now.file || bytes > now.bytes) throw new Error('that moment is of a history that is no more');
    await truncate(file, bytes);
  }

  /**
   * Writes the append-only file anew when it has grown beyond this.
   * @returns true when it has: moments of before cannot be put back any more
   */
  async compact(aboveBytes: number): Promise<boolean> {
    const { file, bytes } = await this.moment();
    if (bytes < aboveBytes) return false;
    await this.client.bgrewriteaof();
    const isRewritten = async () => (await this.client.info('persistence')).includes('aof_rewrite_in_progress:0');
    await until('a new file', async () => (await this.#growingFile()) !== file && (await isRewritten()), 30_000);
    return true;
  }

  /** For good: whoever is about to start it again fails. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.client.disconnect();
    this.#child?.kill('SIGKILL'); // Also ends one that is stopped.
    await this.#child?.exited;
    await rm(this.#folder, { recursive: true, force: true });
  }

  #spawn(socket: string): Bun.Subprocess {
    if (this.#stopped) throw new Error('the storm is over');
    const child = Bun.spawn(
      [
        'redis-server',
        ...['--port', '0', '--unixsocket', socket, '--dir', this.#folder, '--save', ''],
        ...['--appendonly', 'yes', '--appendfsync', this.#fsync, '--auto-aof-rewrite-percentage', '0'],
      ],
      { stdout: 'ignore', stderr: 'ignore' },
    );
    this.#child = child;
    return child;
  }

  async #growingFile(): Promise<string> {
    const folder = join(this.#folder, 'appendonlydir');
    const generation = (name: string) => Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1] ?? 0);
    const [newest] = (await readdir(folder)).sort((a, b) => generation(b) - generation(a));
    if (newest === undefined) throw new Error('redis has no append-only file');
    return join(folder, newest);
  }
}

function connect(path: string): Redis {
  const client = new Redis({ path, retryStrategy: () => 20 });
  client.on('error', () => {}); // It is taken away on purpose.
  return client;
}

async function answering(client: Redis): Promise<void> {
  const isReady = () => client.ping().catch(() => undefined);
  await until('redis to answer', async () => client.status === 'ready' && (await isReady()), 30_000);
}
