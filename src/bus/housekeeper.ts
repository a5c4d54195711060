import type { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { LOG_CHANNEL } from './channel.ts';
import { Exclusive } from './exclusive.ts';
import type { Groups } from './groups.ts';
import { keys } from './keys.ts';
import { Trimmer } from './trimmer.ts';

/**
 * A walk over all channels begins so long after the last one of any node began; where there are so many that it takes its
 * time, so many times as long after it ended.
 */
const WALK = { everyMs: 60_000, rest: 10 } as const;

export interface HousekeeperOptions {
  /** Length of a node's lease, in milliseconds; a round begins every third of it. */
  readonly leaseMs: number;
  /** Age at which events are trimmed, in milliseconds; 0 keeps them for ever. */
  readonly maxAgeMs: number;
  /** Bytes of events that each channel keeps; 0: any number. */
  readonly maxBytes: number;
}

/**
 * What keeps Redis clean: destroys, on whichever node holds the lock, the groups of dead nodes and trims what is too old or
 * too much. Trimming by count happens at each publish.
 */
export class Housekeeper {
  readonly #redis: Redis;
  readonly #groups: Groups;
  readonly #trimmer: Trimmer;
  readonly #logger: Log;
  readonly #options: HousekeeperOptions;
  readonly #cleaning: Exclusive;
  #timer: Timer | undefined;

  constructor(redis: Redis, groups: Groups, logger: Log, options: HousekeeperOptions) {
    this.#redis = redis;
    this.#groups = groups;
    this.#logger = logger;
    this.#options = options;
    this.#trimmer = new Trimmer(redis, groups.node, { lockMs: this.#thirdMs, maxBytes: options.maxBytes });
    this.#cleaning = new Exclusive(() => this.#clean());
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.round().catch((error) =>
        this.#logger.warn('housekeeping failed; trying again', { error: describeError(error) }),
      );
    }, this.#thirdMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#trimmer.stop();
    await Promise.allSettled([this.#cleaning.running]);
  }

  /** One round, as the timer begins it; done when all of it is. */
  round(): Promise<void> {
    return this.#cleaning.run();
  }

  get #thirdMs(): number {
    return Math.ceil(this.#options.leaseMs / 3);
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
