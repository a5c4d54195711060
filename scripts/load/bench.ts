import { join } from 'node:path';
import { Child } from './child.ts';
import type { Plane } from './plane.ts';
import { type Stops, startPlane } from './plane.ts';
import type { PublisherCommand, PublisherReport, SwarmCommand, SwarmReport } from './protocol.ts';
import { callsBetween, cpuMs, machineCpuMs, type RedisWork, redisWork } from './usage.ts';

export interface LoadOptions {
  /** Long-lived clients of one stream. */
  readonly clients: number;
  /** How long each case is measured. */
  readonly seconds: number;
  /** Events in each second where a scenario does not say it. */
  readonly rate: number;
  /** Folder for a CPU profile of the server; none is made without it. */
  readonly profile?: string;
}

/** What the clients got of a stretch of publishing, and what it cost. */
export interface Delivery {
  readonly published: number;
  /** Events acknowledged by Redis in each second. */
  readonly publishedPerSecond: number;
  /** Milliseconds that it took in all. */
  readonly spanMs: number;
  readonly report: SwarmReport;
  /** Of the whole second that is the median. */
  readonly deliveriesPerSecond: number;
  /** CPU time of the server for each delivered event, in microseconds. */
  readonly serverMicros: number;
  /** CPU time of Redis for each published event, in microseconds. */
  readonly redisMicros: number;
  /** Calls of commands of Redis, with their subcommands. */
  calls(command: string): number;
  /** Cores kept busy. */
  readonly cores: {
    readonly server: number;
    readonly redis: number;
    readonly clients: number;
    /** By what has nothing to do with the bench: a result with much of it says little. */
    readonly others: number;
  };
}

const LIMIT_MS = 20_000;
const POLL_MS = 50;

/** The plane with clients and a publisher, each a process of its own, so that the server's cost is the server's alone. */
export class Bench {
  readonly options: LoadOptions;
  readonly plane: Plane;
  readonly #swarm: Child<SwarmCommand, SwarmReport>;
  readonly #publisher: Child<PublisherCommand, PublisherReport>;

  private constructor(
    options: LoadOptions,
    plane: Plane,
    swarm: Child<SwarmCommand, SwarmReport>,
    publisher: Child<PublisherCommand, PublisherReport>,
  ) {
    this.options = options;
    this.plane = plane;
    this.#swarm = swarm;
    this.#publisher = publisher;
  }

  /** @param stops receives how to stop what was started, as it is started */
  static async start(options: LoadOptions, stops: Stops): Promise<Bench> {
    const plane = await startPlane(stops, options.profile);
    const swarm = new Child<SwarmCommand, SwarmReport>(join(import.meta.dir, 'swarm.ts'));
    stops.add(() => swarm.stop());
    const publisher = new Child<PublisherCommand, PublisherReport>(join(import.meta.dir, 'publisher.ts'));
    stops.add(() => publisher.stop());
    return new Bench(options, plane, swarm, publisher);
  }

  get streamPath(): string {
    return `/api/v1/topologies/${this.plane.topologyId}/events`;
  }

  get topic(): string {
    return `topology.${this.plane.topologyId}.mutation.applied`;
  }

  /** Brings the number of clients up to this, all on one stream. */
  async connect(clients: number): Promise<void> {
    const { url, token } = this.plane;
    await this.#swarm.ask({ do: 'connect', url, token, path: this.streamPath, clients });
  }

  /** Ends all clients; resolves when the server has noticed. */
  async disconnect(): Promise<void> {
    await this.#swarm.ask({ do: 'disconnect' });
    await waitFor('the server to let all clients go', async () => (await this.plane.streams()) === 0);
  }

  /** Publishes at a steady rate, whoever hears it. */
  async publish(topic: string, rate: number, seconds: number): Promise<PublisherReport> {
    const { redisUrl, maxEvents } = this.plane;
    return this.#publisher.ask({ redis: redisUrl, maxEvents, topic, rate, seconds });
  }

  /**
   * Publishes at a steady rate to the connected clients and waits until they have it all, or nothing more comes.
   * @param others others who publish meanwhile, and how much it was in the end
   */
  async deliver(rate: number, seconds: number, others?: Promise<{ readonly published: number }>): Promise<Delivery> {
    const { redis } = this.plane;
    const { clients } = await this.#swarm.ask({ do: 'reset' });
    const before = this.#cpu(await redisWork(redis));
    const sent = await this.publish(this.topic, rate, seconds);
    const alsoSent = (await others)?.published ?? 0;
    const report = await this.#untilDelivered(clients * (sent.published + alsoSent));
    const after = this.#cpu(await redisWork(redis));

    const spanMs = after.at - before.at;
    const spent = (name: 'server' | 'redis' | 'clients' | 'bench' | 'machine') => after[name] - before[name];
    const own = spent('server') + spent('redis') + spent('clients') + spent('bench');
    return {
      published: sent.published,
      spanMs,
      publishedPerSecond: (sent.published / sent.spanMs) * 1000,
      report,
      deliveriesPerSecond: median(report.perSecond) ?? (report.delivered / Math.max(1, report.spanMs)) * 1000,
      serverMicros: (spent('server') * 1000) / report.delivered,
      redisMicros: (spent('redis') * 1000) / sent.published,
      calls: (command) => callsBetween(before.work, after.work, command),
      cores: {
        server: spent('server') / spanMs,
        redis: spent('redis') / spanMs,
        clients: spent('clients') / spanMs,
        others: Math.max(0, spent('machine') - own) / spanMs,
      },
    };
  }

  #cpu(work: RedisWork) {
    return {
      ...{ work, at: performance.now() },
      ...{ server: cpuMs(...this.plane.serverPids), redis: work.cpuMs, clients: cpuMs(this.#swarm.pid) },
      ...{ bench: cpuMs(process.pid) + cpuMs(this.#publisher.pid), machine: machineCpuMs() },
    };
  }

  async #untilDelivered(expected: number): Promise<SwarmReport> {
    let report = await this.#swarm.ask({ do: 'report' });
    for (let seen = -1, idleSince = performance.now(); report.delivered < expected; ) {
      if (report.delivered !== seen) idleSince = performance.now();
      if (performance.now() - idleSince > LIMIT_MS / 4) break;
      seen = report.delivered;
      await Bun.sleep(POLL_MS);
      report = await this.#swarm.ask({ do: 'report' });
    }
    return report;
  }
}

/** Looks again and again until it is so. */
export async function waitFor(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await Bun.sleep(POLL_MS);
  }
}

/** The middle one; the lower of two. `undefined` of none. */
export function median(values: readonly number[]): number | undefined {
  return [...values].sort((left, right) => left - right)[Math.floor((values.length - 1) / 2)];
}
