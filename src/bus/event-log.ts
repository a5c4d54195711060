import { type Redis, ReplyError } from 'ioredis';
import { describeError } from '../errors.ts';
import { channelsOf, LOG_CHANNEL } from './channel.ts';
import type { Cursor } from './cursor.ts';
import { parseEntry } from './entry.ts';
import epochSource from './epoch.lua' with { type: 'text' };
import { type Event, newEventId, wireData } from './event.ts';
import { keys } from './keys.ts';
import positionSource from './position.lua' with { type: 'text' };
import publishSource from './publish.lua' with { type: 'text' };
import { PublishQueue } from './publish-queue.ts';
import { asList, script } from './script.ts';
import sinceSource from './since.lua' with { type: 'text' };
import witnessSource from './witness.lua' with { type: 'text' };

const publishScript = script(epochSource, publishSource);
const positionScript = script(epochSource, positionSource);
const sinceScript = script(epochSource, sinceSource);
const witnessScript = script(epochSource, witnessSource);

/** What one call that looks for a time looks at, in bytes of events: a millisecond or two of Redis. */
const SINCE_BYTES = 256 * 1024;
/**
 * A connection sends a call again whose answer was lost with the one before: within seconds, unless the process was stopped
 * meanwhile.
 */
const CALL_MEMORY_MS = 60_000;

/** An event to publish, with what the outbox knows of it. */
export interface Publication {
  readonly event: Event;
  /** Channel → revision that the event gave it in the database; absent for events without database state. */
  readonly revisions?: Readonly<Record<string, number>>;
  /** How long the event id is remembered, in milliseconds; the log's default otherwise. */
  readonly rememberMs?: number;
  /**
   * True where whoever publishes will not do so again, not even after a failure, and nobody else knows the id. It need not be
   * remembered then; that the call which publishes it happens once is seen to here.
   */
  readonly once?: boolean;
  /**
   * What the event's body is known by, for producers that choose ids: the same id with another body is refused. Without
   * the time of the event, which is new in each attempt.
   */
  readonly digest?: string;
  /** A channel that is no more: its stream and its numbers go when this event is published. */
  readonly forget?: string;
}

/** Where an event went. */
export interface Published {
  readonly id: string;
  readonly epoch: string;
  /** True when this event id had been published before; the places are those of the first time. */
  readonly duplicate: boolean;
  /** True when the id belongs to another event, whose places these are. Nothing was published. */
  readonly conflict: boolean;
  /** Channel → offset; includes `log`. */
  readonly offsets: Readonly<Record<string, number>>;
}

/** Where a channel stands. */
export interface Position extends Cursor {
  /** The newest database revision among the channel's events. Nothing that is published later has a lower one. */
  readonly revision: number;
  /** True when the event after the reader's offset is still kept. Only meaningful when an offset was asked about. */
  readonly nextKept: boolean;
  /** Proof of the reader's offset in this log; empty when it is not known. */
  readonly readerProof: string;
}

/** A place in the log that the database knows: all up to there has been published. */
export type WitnessedPlace = Pick<Cursor, 'epoch' | 'offset' | 'proof'>;

/** What the database knows to be published: the log has lost something if it does not hold this. */
export interface Witness {
  readonly newest: WitnessedPlace | undefined;
  /** Epochs of before. */
  readonly epochs: readonly string[];
}

/** Another relay leads; what this one wanted to publish it has published, or will. */
export class FencedOffError extends Error {
  /** The newest term that Redis knows. */
  readonly newest: number;

  constructor(newest: number) {
    super('another relay leads');
    this.name = 'FencedOffError';
    this.newest = newest;
  }
}

/** The log does not hold what is known to be published: it has to be compared with its witness first. Nothing was published. */
export class LogReplacedError extends Error {
  constructor() {
    super('the log does not hold what was published');
    this.name = 'LogReplacedError';
  }
}

/** The durable log: numbering, publishing and positions. Reading is the tail's and the groups'. */
export class EventLog {
  readonly #redis: Redis;
  readonly #maxEvents: number;
  readonly #rememberMs: number;
  readonly #queue = new PublishQueue<Encoded, Published>((encoded, again) => this.#publishTogether(encoded, again));

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
   * first events may have been published and none after them: call it again with the same events. Calls that come at the
   * same time travel together.
   */
  async publish(publications: readonly Publication[]): Promise<Published[]> {
    if (publications.length === 0) return [];
    const encoded = publications.map(encode);
    return this.#queue.publish(
      encoded,
      encoded.reduce((size, { data }) => size + data.length, 0),
    );
  }

  /**
   * The same for the relay, which takes what it has published out of the database: only into a log that holds all that was
   * taken out before.
   * @param term of the relay's leadership
   * @param known the newest place that is known to be published
   * @returns where the log stands then: what is known once the events are gone from the database
   * @throws {FencedOffError} when a relay with a newer term has published
   * @throws {LogReplacedError} when the log does not hold the known place
   */
  async relay(publications: readonly Publication[], term: number, known: WitnessedPlace): Promise<WitnessedPlace> {
    const { epoch, offset, proof } = known;
    const [found, newest, chained] = await this.#publish(publications.map(encode), [term, epoch, offset, proof]);
    return { epoch: String(found), offset: Number(newest), proof: String(chained) };
  }

  async #publishTogether(encoded: readonly Encoded[], again: boolean): Promise<Published[]> {
    const [epoch, , , ...results] = await this.#publish(encoded, ['', '', '', ''], again);
    return encoded.map(({ event }, index) => parsePublished(event.id, String(epoch), String(results[index])));
  }

  async #publish(encoded: readonly Encoded[], leader: readonly (string | number)[], again = false): Promise<unknown[]> {
    const names: string[] = [keys.meta, keys.stream(LOG_CHANNEL), keys.call(newEventId())];
    const args: (string | number)[] = [newEpoch(), keys.allStreams, this.#maxEvents, ...leader];
    args.push(CALL_MEMORY_MS, again ? '1' : '', keys.published(''));
    for (const { event, data, revisions, rememberMs, once, digest, forget } of encoded) {
      const channels = channelsOf(event);
      for (const channel of channels) names.push(keys.stream(channel));
      if (forget !== undefined) names.push(keys.stream(forget));
      args.push(event.id, event.topic, data, once === true ? '' : (rememberMs ?? this.#rememberMs));
      args.push(digest ?? '', forget ?? '', channels.length);
      for (const channel of channels) args.push(channel, revisions?.[channel] ?? '');
    }
    return asList(await fenced(publishScript.runNow(this.#redis, names, args)));
  }

  /** Shortens how long these event ids are remembered to the log's default: their producer will not repeat them. */
  async acknowledge(eventIds: readonly string[]): Promise<void> {
    await Promise.all(eventIds.map((id) => this.#redis.pexpire(keys.published(id), this.#rememberMs)));
  }

  /**
   * The epoch and newest offset of a channel; mints the epoch of an empty Redis.
   * @param readerOffset asks whether the event after it is still kept, and for its proof
   * @param redis the connection to ask over, when it matters which server answers
   */
  async position(channel: string, readerOffset?: number, redis: Redis = this.#redis): Promise<Position> {
    const answer = await positionScript.run(
      redis,
      [keys.meta, keys.stream(channel)],
      [newEpoch(), keys.allStreams, channel, readerOffset ?? ''],
    );
    const [epoch, offset, proof, revision, nextKept, readerProof] = asList(answer);
    return {
      epoch: String(epoch),
      offset: Number(offset),
      proof: String(proof),
      revision: Number(revision),
      nextKept: Number(nextKept) > 0,
      readerProof: String(readerProof),
    };
  }

  /** The place before the oldest event of a channel that is kept; `undefined` where none is. */
  async oldest(channel: string): Promise<Pick<Cursor, 'offset' | 'proof'> | undefined> {
    const [raw] = await this.#redis.xrange(keys.stream(channel), '-', '+', 'COUNT', 1);
    if (raw === undefined) return undefined;
    const { offset, before } = parseEntry(raw);
    return { offset: offset - 1, proof: before };
  }

  /**
   * The place in the log from where on all events were published at a time or later, by the clock of Redis.
   * @param seconds since the epoch; negative: so long ago; 0: all that is kept
   * @returns a cursor that is not honoured (`trimmed`) where history may begin later than the time
   */
  async placeSince(seconds: number): Promise<Cursor> {
    let range = ['', ''];
    for (;;) {
      const answer = await sinceScript.run(
        this.#redis,
        [keys.meta, keys.stream(LOG_CHANNEL)],
        [newEpoch(), keys.allStreams, seconds, SINCE_BYTES, ...range],
      );
      const [epoch, offset, proof, isUnfinished] = asList(answer);
      if (isUnfinished === undefined) {
        return { epoch: String(epoch), offset: Number(offset), proof: String(proof), revision: 0 };
      }
      range = [String(offset), String(proof)];
    }
  }

  /**
   * Compares the log with what the database knows to be published, and rotates the epoch when it is not the same: all
   * clients are then reset.
   * @param term of the relay's leadership
   * @returns where the log stands: the next witness
   * @throws {FencedOffError}
   */
  async testify(witness: Witness, term: number): Promise<Cursor & { readonly rotated: boolean }> {
    const { newest, epochs } = witness;
    const answer = await fenced(
      witnessScript.run(
        this.#redis,
        [keys.meta, keys.stream(LOG_CHANNEL)],
        [newEpoch(), keys.allStreams, term, newest?.epoch ?? '', newest?.offset ?? 0, newest?.proof ?? '', ...epochs],
      ),
    );
    const [epoch, offset, proof, rotated] = asList(answer);
    return {
      epoch: String(epoch),
      offset: Number(offset),
      proof: String(proof),
      revision: 0,
      rotated: Number(rotated) > 0,
    };
  }
}

/** What cannot be encoded is its own publisher's fault, and not that of all who travel with it. */
interface Encoded extends Publication {
  readonly data: string;
}

function encode(publication: Publication): Encoded {
  return { ...publication, data: wireData(publication.event) };
}

async function fenced<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof ReplyError)) throw error;
    const text = describeError(error);
    const newest = /^FENCED (\d+)/.exec(text)?.[1];
    if (newest !== undefined) throw new FencedOffError(Number(newest));
    throw text.startsWith('REPLACED') ? new LogReplacedError() : error;
  }
}

/** Eight characters `[0-9a-z]`: 41 bits, so that two epochs of one installation do not meet. */
export function newEpoch(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join('');
}

function parsePublished(id: string, epoch: string, text: string): Published {
  const [how, logOffset, ...places] = text.split(' ');
  const offsets: Record<string, number> = { [LOG_CHANNEL]: Number(logOffset) };
  for (let index = 0; index + 1 < places.length; index += 2) {
    offsets[places[index] ?? ''] = Number(places[index + 1]);
  }
  return { id, epoch, duplicate: how === '1', conflict: how === '2', offsets };
}
