import type { Redis } from 'ioredis';
import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { type Entry, entryId, parseEntry, type RawEntry } from '../../src/bus/entry.ts';
import { keys, OFFSET_FIELD } from '../../src/bus/keys.ts';

/**
 * The oracle: every event that the log has ever held. It copies the streams in the same atomic step that destroys
 * something, so nothing can slip in between.
 */
export class Archive {
  readonly #redis: Redis;
  readonly #channels: readonly string[];
  readonly #entries = new Map<string, Map<number, Entry>>();
  readonly #trimmed = new Map<string, number>();
  readonly epochs = new Set<string>();

  constructor(redis: Redis, channels: readonly string[]) {
    this.#redis = redis;
    this.#channels = [...channels, LOG_CHANNEL];
  }

  /** Everything that the channel held in the epoch, by offset. */
  entries(epoch: string, channel: string): ReadonlyMap<number, Entry> {
    return this.#entries.get(`${epoch} ${channel}`) ?? new Map();
  }

  /** Events below this offset have been trimmed from the channel. */
  trimmedBelow(epoch: string, channel: string): number {
    return this.#trimmed.get(`${epoch} ${channel}`) ?? 0;
  }

  /** Copies what is there. @returns the epoch and the newest offsets */
  async copy(): Promise<{ epoch: string; newest: Map<string, number> }> {
    return this.#copyThen();
  }

  async flush(): Promise<void> {
    await this.#copyThen(['flushall']);
  }

  /** Trims a channel to the events from `offset` on. */
  async trim(channel: string, offset: number): Promise<void> {
    const { epoch } = await this.#copyThen(['xtrim', keys.stream(channel), 'MINID', entryId(offset)]);
    const key = `${epoch} ${channel}`;
    this.#trimmed.set(key, Math.max(offset, this.#trimmed.get(key) ?? 0));
  }

  async #copyThen(destroy?: readonly [string, ...string[]]): Promise<{ epoch: string; newest: Map<string, number> }> {
    const transaction = this.#redis.multi();
    transaction.hgetall(keys.meta);
    for (const channel of this.#channels) transaction.xrange(keys.stream(channel), '-', '+');
    if (destroy !== undefined) transaction.call(...destroy);
    const results = (await transaction.exec())?.map(([error, result]) => {
      if (error !== null) throw error;
      return result;
    });
    const [meta, ...streams] = results ?? [];
    const fields = meta as Record<string, string>;
    const epoch = fields.epoch ?? '';
    if (epoch !== '') this.epochs.add(epoch);
    const newest = new Map<string, number>();
    for (const [index, channel] of this.#channels.entries()) {
      newest.set(channel, Number(fields[`${OFFSET_FIELD}${channel}`] ?? 0));
      const known = this.#entries.get(`${epoch} ${channel}`) ?? new Map<number, Entry>();
      for (const raw of streams[index] as RawEntry[]) {
        const entry = parseEntry(raw);
        known.set(entry.offset, entry);
      }
      this.#entries.set(`${epoch} ${channel}`, known);
    }
    return { epoch, newest };
  }
}
