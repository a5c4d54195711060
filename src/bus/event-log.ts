import { type Redis, ReplyError } from 'ioredis';
import adoptSource from './adopt.lua' with { type: 'text' };
import { channelsOf, LOG_CHANNEL } from './channel.ts';
import type { Cursor } from './cursor.ts';
import epochSource from './epoch.lua' with { type: 'text' };
import { type Event, wireData } from './event.ts';
import { keys } from './keys.ts';
import positionSource from './position.lua' with { type: 'text' };
import publishSource from './publish.lua' with { type: 'text' };
import { asList, script } from './script.ts';

const publishScript = script(epochSource, publishSource);
const positionScript = script(epochSource, positionSource);
const adoptScript = script(epochSource, adoptSource);

/** An event to publish, with what the outbox knows of it. */
export interface Publication {
  readonly event: Event;
  /** Channel → revision that the event gave it in the database; absent for events without database state. */
  readonly revisions?: Readonly<Record<string, number>>;
  /** How long the event id is remembered, in milliseconds; the log's default otherwise. */
  readonly rememberMs?: number;
  /** The term of the relay that publishes it: what a former leader sends is told from it. */
  readonly fence?: number;
  /** The channel whose stream and counters are dropped with this event: what it was about is no more. */
  readonly forget?: string;
}

/** Where an event went. */
export interface Published {
  readonly id: string;
  readonly epoch: string;
  /** True when this event id had been published before; the places are those of the first time. */
  readonly duplicate: boolean;
  /** Channel → offset; includes `log`. */
  readonly offsets: Readonly<Record<string, number>>;
}

/** Where a channel stands. */
export interface Position extends Cursor {
  /** True when the event after the reader's offset is still kept. Only meaningful when an offset was asked about. */
  readonly nextKept: boolean;
}

/** The durable log: numbering, publishing and positions. Reading is the tail's and the groups'. */
export class EventLog {
  readonly #redis: Redis;
  readonly #maxEvents: number;
  readonly #rememberMs: number;

  /**
   * @param options.maxEvents entries that each channel keeps, approximately
   * @param options.idempotencyMs how long a repeated event id is answered with its first result
   */
  constructor(redis: Redis, options: { maxEvents: number; idempotencyMs: number }) {
    this.#redis = redis;
    this.#maxEvents = options.maxEvents;
    this.#rememberMs = options.idempotencyMs;
  }

  /**
   * Publishes in order, each event once however often it is called with the same event id. When it throws, some of the
   * first events may have been published and none after them: call it again with the same events.
   */
  async publish(publications: readonly Publication[]): Promise<Published[]> {
    const names: string[] = [keys.meta, keys.stream(LOG_CHANNEL)];
    const args: (string | number)[] = [newEpoch(), keys.allStreams, this.#maxEvents];
    for (const { event, revisions, rememberMs } of publications) {
      const channels = channelsOf(event);
      names.push(keys.published(event.id), ...channels.map(keys.stream));
      args.push(event.id, event.topic, wireData(event), rememberMs ?? this.#rememberMs, channels.length);
      for (const channel of channels) args.push(channel, revisions?.[channel] ?? '');
    }
    const [epoch, ...results] = asList(await publishScript.run(this.#redis, names, args));
    return publications.map(({ event }, index) => parsePublished(event.id, String(epoch), String(results[index])));
  }

  /** Shortens how long these event ids are remembered to the log's default: their producer will not repeat them. */
  async acknowledge(eventIds: readonly string[]): Promise<void> {
    await Promise.all(eventIds.map((id) => this.#redis.pexpire(keys.published(id), this.#rememberMs)));
  }

  /**
   * The epoch and newest offset of a channel; mints the epoch of an empty Redis.
   * @param readerOffset asks whether the event after it is still kept
   */
  async position(channel: string, readerOffset?: number): Promise<Position> {
    const answer = await positionScript.run(
      this.#redis,
      [keys.meta, keys.stream(channel)],
      [newEpoch(), keys.allStreams, channel, readerOffset ?? ''],
    );
    const [epoch, offset, nextKept] = asList(answer);
    return { epoch: String(epoch), offset: Number(offset), nextKept: Number(nextKept) > 0 };
  }

  /**
   * Recognises the server behind a new connection; rotates the epoch when it may hand out known offsets again.
   * @param redis the new connection
   * @param seen what the caller has read of the log, with the id of the event there
   * @returns the epoch and the log's newest offset
   */
  async adopt(redis: Redis, seen: Cursor & { readonly eventId: string }): Promise<Cursor> {
    const server = serverIdentity(await redis.info(), await fsyncPolicy(redis));
    const answer = await adoptScript.run(
      redis,
      [keys.meta, keys.stream(LOG_CHANNEL)],
      [newEpoch(), keys.allStreams, server.runId, server.afterRestart, seen.epoch, seen.offset, seen.eventId],
    );
    const [epoch, offset] = asList(answer);
    return { epoch: String(epoch), offset: Number(offset) };
  }
}

/**
 * What a server says of itself, and what becomes of acknowledged events when it is replaced by such a one.
 *
 * `lost`: one that was promoted from a replica (it has a second replication id) took over without the writes that had
 * not reached it; one without an append-only file restarts from a snapshot or from nothing. `unsure`: with an
 * append-only file that is not synced at each write a crash may lose the newest. `kept`: it is.
 * @param info answer of `INFO`
 * @param fsync the `appendfsync` setting; `undefined` when the server does not tell
 * @see https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
 */
export function serverIdentity(
  info: string,
  fsync: string | undefined,
): { readonly runId: string; readonly afterRestart: 'kept' | 'unsure' | 'lost' } {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const isPromoted = !/^0*$/.test(field('master_replid2'));
  const hasFile = field('aof_enabled') === '1';
  const afterRestart = isPromoted || !hasFile ? 'lost' : fsync === 'always' ? 'kept' : 'unsure';
  return { runId: field('run_id'), afterRestart };
}

/** Managed services forbid CONFIG; then nobody knows. */
async function fsyncPolicy(redis: Redis): Promise<string | undefined> {
  try {
    const answer = asList(await redis.call('CONFIG', 'GET', 'appendfsync'));
    return answer[1] === undefined ? undefined : String(answer[1]);
  } catch (error) {
    if (error instanceof ReplyError) return undefined;
    throw error;
  }
}

/** Eight characters `[0-9a-z]`: 41 bits, so that two epochs of one installation do not meet. */
function newEpoch(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join('');
}

function parsePublished(id: string, epoch: string, text: string): Published {
  const [duplicate, logOffset, ...places] = text.split(' ');
  const offsets: Record<string, number> = { [LOG_CHANNEL]: Number(logOffset) };
  for (let index = 0; index + 1 < places.length; index += 2) {
    offsets[places[index] ?? ''] = Number(places[index + 1]);
  }
  return { id, epoch, duplicate: duplicate === '1', offsets };
}
