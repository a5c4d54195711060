import type { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { entryId, offsetOf, parseEntry } from './entry.ts';
import { entriesOf, type Groups } from './groups.ts';
import { keys, OFFSET_FIELD } from './keys.ts';

const TRIM_EVERY_MS = 60_000;

/**
 * What keeps Redis clean: renews this node's lease, and, on whichever node holds the lock, destroys the groups of dead
 * nodes and trims events that are too old. Trimming by count happens at each publish.
 */
export class Housekeeper {
  readonly #redis: Redis;
  readonly #groups: Groups;
  readonly #logger: Log;
  readonly #leaseMs: number;
  readonly #maxAgeMs: number;
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #trimmedAt = 0;

  /**
   * @param options.leaseMs length of a node's lease; a round runs every third of it
   * @param options.maxAgeMs age at which events are trimmed; 0 keeps them for ever
   */
  constructor(redis: Redis, groups: Groups, logger: Log, options: { leaseMs: number; maxAgeMs: number }) {
    this.#redis = redis;
    this.#groups = groups;
    this.#logger = logger;
    this.#leaseMs = options.leaseMs;
    this.#maxAgeMs = options.maxAgeMs;
  }

  /** Takes the lease at once and keeps it. */
  async start(): Promise<void> {
    let busy = false;
    this.#timer = setInterval(() => {
      if (busy) return; // Redis is down and the last round still waits for it.
      busy = true;
      this.#round = this.round()
        .catch((error) => this.#logger.warn('housekeeping failed; trying again', { error: describeError(error) }))
        .finally(() => {
          busy = false;
        });
    }, this.#leaseMs / 3);
    // After the timer: with Redis down this throws, and the rounds go on all the same.
    await this.#groups.renew();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#round;
  }

  /** One round; the timer calls it. */
  async round(): Promise<void> {
    await this.#groups.renew();
    const mine = await this.#redis.set(keys.housekeeping, this.#groups.node, 'PX', Math.ceil(this.#leaseMs / 3), 'NX');
    if (mine === null) return;
    await this.#groups.reap(this.#logger);
    if (this.#maxAgeMs > 0 && Date.now() - this.#trimmedAt >= TRIM_EVERY_MS) {
      this.#trimmedAt = Date.now();
      await this.trimOlderThan(Date.now() - this.#maxAgeMs);
    }
  }

  /**
   * Trims events that happened before a time from every channel.
   * @param time milliseconds since the epoch
   */
  async trimOlderThan(time: number): Promise<void> {
    let scan = '0';
    do {
      const [next, fields] = await this.#redis.hscan(keys.meta, scan, 'MATCH', `${OFFSET_FIELD}*`, 'COUNT', 100);
      for (let index = 0; index + 1 < fields.length; index += 2) {
        const channel = (fields[index] ?? '').slice(OFFSET_FIELD.length);
        // An entry that is no event (nobody else should write there) must not keep the other channels from being trimmed.
        await this.#trimChannel(channel, time / 1000, Number(fields[index + 1])).catch((error: unknown) =>
          this.#logger.warn('a channel could not be trimmed by age', { channel, error: describeError(error) }),
        );
      }
      scan = next;
    } while (scan !== '0');
  }

  /** Entry ids are offsets, not times: the first entry that is young enough is found by bisection. */
  async #trimChannel(channel: string, seconds: number, newest: number): Promise<void> {
    const stream = keys.stream(channel);
    const oldest = await this.#entryFrom(stream, 0);
    if (oldest === undefined || oldest.ts >= seconds) return;
    let [tooOld, keep] = [oldest.offset, newest + 1];
    while (keep - tooOld > 1) {
      const middle = Math.floor((tooOld + keep) / 2);
      const entry = await this.#entryFrom(stream, middle);
      if (entry !== undefined && entry.ts < seconds) tooOld = Math.max(middle, entry.offset);
      else keep = middle;
    }
    await this.#redis.xtrim(stream, 'MINID', entryId(keep));
  }

  async #entryFrom(stream: string, offset: number): Promise<{ offset: number; ts: number } | undefined> {
    const found = await this.#redis.xrange(stream, entryId(offset), '+', 'COUNT', 1);
    const [raw] = entriesOf([[stream, found]]);
    if (raw === undefined) return undefined;
    const data: unknown = JSON.parse(parseEntry(raw).data);
    const ts = typeof data === 'object' && data !== null && 'ts' in data ? Number(data.ts) : 0;
    return { offset: offsetOf(raw[0]), ts };
  }
}
