import type { Redis } from 'ioredis';
import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import { entryId, type LogEntry, offsetOf, parseLogEntry, type RawEntry } from '../../src/bus/entry.ts';
import { keys, OFFSET_FIELD } from '../../src/bus/keys.ts';
import { type Kept, Past } from './past.ts';

type Command = readonly [string, ...string[]];

/**
 * Copies the streams into the {@link Past}: now and then, and in the same atomic step that destroys something, so that
 * nothing can slip in between.
 */
export class Archive {
  readonly past = new Past();
  /** Entries of the log that were copied, by epoch, offset and id of their event; whoever needs them lets go of them. */
  readonly logged = new Map<string, LogEntry>();
  readonly #redis: Redis;
  /** With the log. */
  readonly channels: readonly string[];
  #epoch = '';
  /** Channel → the newest offset that was copied in this epoch. */
  #copied = new Map<string, number>();

  constructor(redis: Redis, channels: readonly string[]) {
    this.#redis = redis;
    this.channels = [...channels, LOG_CHANNEL];
  }

  /** The epoch that was copied last. */
  get epoch(): string {
    return this.#epoch;
  }

  /** The newest offset of a channel when it was copied last. */
  newest(channel: string): number {
    return this.#copied.get(channel) ?? 0;
  }

  /** What the log holds now. */
  async present(): Promise<LogEntry[]> {
    const entries = await this.#redis.xrange(keys.stream(LOG_CHANNEL), '-', '+');
    return entries.map(parseLogEntry);
  }

  /** Copies what has come since the last time. */
  async copy(): Promise<void> {
    const known = this.#epoch;
    await this.#copyThen();
    // Another epoch takes over what the streams hold.
    if (this.#epoch !== known) await this.#copyAllThen();
  }

  async flush(): Promise<void> {
    await this.#copyAllThen(['flushall']);
  }

  /** Deletes what numbers the log, and nothing else: whoever asks next begins it anew. */
  async behead(): Promise<void> {
    await this.#copyAllThen(['del', keys.meta]);
  }

  /** Trims a channel to the events from `offset` on. */
  async trim(channel: string, offset: number): Promise<void> {
    await this.#copyAllThen(['xtrim', keys.stream(channel), 'MINID', entryId(offset)]);
    await this.copy();
  }

  /** Deletes a channel's stream, with its consumer groups. */
  async delete(channel: string): Promise<void> {
    await this.#copyAllThen(['del', keys.stream(channel)]);
    await this.copy();
  }

  /** Copies everything and lets Redis do nothing any more: what follows has to be a kill. */
  async freeze(): Promise<void> {
    await this.#copyAllThen(['client', 'pause', '120000', 'all']);
  }

  /** Redis is back, older than it was. @param redis reaches it before anybody else can write */
  async rewound(redis: Redis): Promise<void> {
    this.past.rewound();
    this.#copied = new Map();
    await this.#copyThen(undefined, redis);
  }

  #copyAllThen(destroy?: Command): Promise<void> {
    this.#copied = new Map();
    return this.#copyThen(destroy);
  }

  async #copyThen(destroy?: Command, redis = this.#redis): Promise<void> {
    const transaction = redis.multi();
    transaction.hgetall(keys.meta);
    for (const channel of this.channels) {
      const stream = keys.stream(channel);
      transaction.xrange(stream, `(${entryId(this.newest(channel))}`, '+');
      transaction.xrange(stream, '-', '+', 'COUNT', 1);
    }
    if (destroy !== undefined) transaction.call(...destroy);
    const answers = (await transaction.exec())?.map(([error, result]) => {
      if (error !== null) throw error;
      return result;
    });
    const [meta, ...streams] = answers ?? [];
    const fields = meta as Record<string, string>;
    this.#epoch = fields.epoch ?? '';
    if (this.#epoch === '') return; // Flushed, and nobody has published since.
    for (const raw of streams[this.channels.indexOf(LOG_CHANNEL) * 2] as RawEntry[]) {
      const entry = parseLogEntry(raw);
      this.logged.set(`${entry.epoch} ${entry.offset} ${entry.id}`, entry);
    }
    const sights = this.channels.map((channel, index) => {
      const newest = Number(fields[`${OFFSET_FIELD}${channel}`] ?? 0);
      const [first] = (streams[index * 2 + 1] as RawEntry[]).map(([id]) => offsetOf(id));
      return { channel, newest, first, entries: (streams[index * 2] as RawEntry[]).map(keptOf) };
    });
    for (const { channel, ...sight } of sights) {
      this.past.record(this.#epoch, channel, sight);
      this.#copied.set(channel, sight.newest);
    }
  }
}

function keptOf([entry, words]: RawEntry): Kept {
  const fields = new Map<string, string>();
  for (let index = 0; index + 1 < words.length; index += 2) fields.set(words[index] ?? '', words[index + 1] ?? '');
  // <before> <proof> <bytes> <revision> <id> <topic>, and in the log <epoch> …
  const [before = '', proof = '', , revision, id = '', topic = '', epoch] = (fields.get('chain') ?? '').split(' ');
  const data = fields.get('data') ?? '';
  const kept = { offset: offsetOf(entry), proof, before, id, topic, data, revision: Number(revision || 0) };
  return epoch === undefined ? kept : { ...kept, epoch };
}
