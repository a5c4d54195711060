import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type EmbeddedRedis, type EmbeddedRedisLimits, startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { hasEnded } from '../../src/bus/redis-orphan.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { until } from '../support/until.ts';

export const pidOf = async (client: Redis) => Number(/process_id:(\d+)/.exec(await client.info('server'))?.[1]);

export const isAlive = (pid: number) => !hasEnded(pid);

/** Ends it as an out-of-memory killer would. */
export async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until('its end', () => !isAlive(pid));
}

/** A data folder, and whoever starts embedded servers on it; `stop` ends all that a test has started. */
export class EmbeddedFixture {
  readonly folder: string;
  readonly lines: string[] = [];
  readonly log = createLog('debug', (line) => this.lines.push(line));
  readonly #stops: (() => unknown)[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<EmbeddedFixture> {
    return new EmbeddedFixture(await mkdtemp(join(tmpdir(), 'decnet-embedded-')));
  }

  get said(): string {
    return this.lines.join();
  }

  async start(dataDir = this.folder, limits: Partial<EmbeddedRedisLimits> = {}): Promise<EmbeddedRedis> {
    const server = await startEmbeddedRedis(dataDir, this.log, limits);
    this.#stops.push(() => server.stop());
    return server;
  }

  connect(socket: string): Redis {
    const client = new Redis({ path: socket, retryStrategy: () => 20, maxRetriesPerRequest: null });
    client.on('error', () => {}); // Its server is killed on purpose.
    this.#stops.push(() => client.disconnect());
    return client;
  }

  /** A process that is ready to start a server: it says what came of it. */
  async owner(dataDir = this.folder) {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, 'embedded-owner.ts'), dataDir], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
    });
    const killOwner = async () => {
      child.kill('SIGKILL');
      await child.exited;
    };
    this.#stops.push(killOwner);
    let said = '';
    const read = async () => {
      for await (const chunk of child.stdout) said += Buffer.from(chunk).toString();
    };
    void read();
    await until('an owner to wait', () => said.includes('waiting\n'));
    return {
      kill: killOwner,
      start: async () => {
        child.stdin.write('go\n');
        await child.stdin.flush();
        const [, outcome = ''] = await until('its outcome', () => /waiting\n(.*)\n/.exec(said));
        const [, pid, socket = ''] = /^owns (\d+) (.*)$/.exec(outcome) ?? [];
        if (pid !== undefined) this.#stops.push(() => isAlive(Number(pid)) && kill(Number(pid)));
        return { outcome, pid: Number(pid), socket };
      },
    };
  }

  /** A server whose owner was killed, with a key in it. */
  async orphan(dataDir = this.folder) {
    const owner = await this.owner(dataDir);
    const { pid, socket } = await owner.start();
    await this.connect(socket).set('kept', 'yes');
    await owner.kill();
    if (!isAlive(pid)) throw new Error('the server did not outlive its owner');
    return { pid, socket };
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
