import type { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { LOG_CHANNEL } from './channel.ts';
import type { Groups } from './groups.ts';
import { keys } from './keys.ts';
import { Trimmer } from './trimmer.ts';

/**
 * A walk over all channels begins so long after the last one of any node began; where there are so many that it takes its
 * time, so many times as long after it ended.
 */
const WALK = { everyMs: 60_000, rest: 10 } as const;

export interface HousekeeperOptions {
  /** Length of a node's lease, in milliseconds; a round runs every third of it. */
  readonly leaseMs: number;
  /** Age at which events are trimmed, in milliseconds; 0 keeps them for ever. */
  readonly maxAgeMs: number;
  /** Bytes of events that each channel keeps; 0: any number. */
  readonly maxBytes: number;
  /**
   * The lease had ended before it was renewed: other nodes may have destroyed the groups of this one, and forgotten
   * channels that only they kept.
   */
  readonly onLapsed?: () => void;
}

/**
 * What keeps Redis clean: renews this node's lease, and, on whichever node holds the lock, destroys the groups of dead
 * nodes and trims what is too old or too much. Trimming by count happens at each publish.
 */
export class Housekeeper {
  readonly #redis: Redis;
  readonly #groups: Groups;
  readonly #trimmer: Trimmer;
  readonly #logger: Log;
  readonly #options: HousekeeperOptions;
  /** Apart, so that a walk over many channels does not cost the node its lease. */
  readonly #renewal: Exclusive;
  readonly #cleaning: Exclusive;
  #timer: Timer | undefined;

  constructor(redis: Redis, groups: Groups, logger: Log, options: HousekeeperOptions) {
    this.#redis = redis;
    this.#groups = groups;
    this.#logger = logger;
    this.#options = options;
    this.#trimmer = new Trimmer(redis, groups.node, { lockMs: this.#thirdMs, maxBytes: options.maxBytes });
    this.#renewal = new Exclusive(() => this.#renew());
    this.#cleaning = new Exclusive(() => this.#clean());
  }

  /** Takes the lease at once and keeps it. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      const onError = (error: unknown) =>
        this.#logger.warn('housekeeping failed; trying again', { error: describeError(error) });
      this.#renewal.run().catch(onError);
      this.#cleaning.run().catch(onError);
    }, this.#thirdMs);
    // After the timer: with Redis down this throws, and the rounds go on all the same.
    await this.#renewal.run();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#trimmer.stop();
    await Promise.allSettled([this.#renewal.running, this.#cleaning.running]);
  }

  /** One round, as the timer begins it; done when all of it is. */
  async round(): Promise<void> {
    await this.#renewal.run();
    await this.#cleaning.run();
  }

  get #thirdMs(): number {
    return Math.ceil(this.#options.leaseMs / 3);
  }

  async #renew(): Promise<void> {
    if (await this.#groups.renew()) this.#options.onLapsed?.();
  }

  async #clean(): Promise<void> {
    const { node } = this.#groups;
    const holder = await this.#taken(keys.housekeeping, this.#thirdMs);
    // Its own, of the round before: it goes on.
    if (holder !== null && holder !== node) return;
    await this.#groups.reap(this.#logger);
    const { maxAgeMs, maxBytes } = this.#options;
    if (maxAgeMs <= 0 && maxBytes <= 0) return;
    const tooOld = maxAgeMs > 0 ? Date.now() - maxAgeMs : undefined;
    // The log holds what all other channels hold together: it may grow by gigabytes between two walks.
    await this.#trimmer.trim([LOG_CHANNEL], tooOld);
    if ((await this.#taken(keys.walked, WALK.everyMs)) !== null) return;
    const begun = performance.now();
    const walk = await this.#trimmer.walk(tooOld);
    const restMs = Math.ceil((performance.now() - begun) * WALK.rest);
    if (walk.complete) await this.#redis.pexpire(keys.walked, restMs, 'GT');
    if (walk.trimmed > 0 || walk.forgotten > 0) this.#logger.debug('trimmed the event log', { ...walk });
  }

  /** Takes a key for so long; answers who has it, if somebody has. */
  #taken(key: string, ms: number): Promise<string | null> {
    return this.#redis.set(key, this.#groups.node, 'PX', ms, 'NX', 'GET');
  }
}

/** A task that runs once at a time: started again while it runs, it goes on as it is. */
class Exclusive {
  readonly #task: () => Promise<void>;
  #running: Promise<void> | undefined;

  constructor(task: () => Promise<void>) {
    this.#task = task;
  }

  get running(): Promise<void> | undefined {
    return this.#running;
  }

  run(): Promise<void> {
    this.#running ??= this.#task().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }
}
