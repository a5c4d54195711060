import type { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { LOG_CHANNEL } from './channel.ts';
import { type Cursor, NO_PROOF } from './cursor.ts';
import { type Batch, type Entry, entryId, type LogEntry, parseLogEntry } from './entry.ts';
import type { EventLog, Position } from './event-log.ts';
import { entriesOf } from './groups.ts';
import { keys } from './keys.ts';
import { connected, reconnectDelay, TAIL_BLOCK_MS } from './redis.ts';
import { within } from './within.ts';

/** Who is told what the tail reads. Called synchronously, in order. */
export interface TailListener {
  /** Events of one channel, contiguous with the batch before it unless {@link onBreak} came between. */
  onBatch(batch: Batch): void;
  /**
   * The stream of batches is broken: events in between were not seen. What comes next may be of another epoch.
   * @param epoch the epoch from here on
   */
  onBreak(epoch: string): void;
  /**
   * The tail has a new connection, perhaps to another server, which holds all that was handed on. Whoever has read more
   * by himself has to ask whether that is there, too.
   */
  onReconnect?(): void;
}

/** Which checks the tail makes on what it reads; a negative control switches one off. */
export interface TailChecks {
  /** True when an entry is the one that follows the cursor. */
  follows(entry: LogEntry, cursor: Cursor): boolean;
  /** True when the log, asked at an idle moment or after a reconnect, is no longer the one that the tail reads. */
  replaced(now: Position, cursor: Cursor): boolean;
}

export const tailChecks: TailChecks = {
  follows: (entry, cursor) =>
    entry.epoch === cursor.epoch && entry.offset === cursor.offset + 1 && entry.before === cursor.proof,
  // An event that was trimmed proves nothing; that the next one does not follow will show when it is read.
  replaced: (now, cursor) =>
    now.epoch !== cursor.epoch ||
    now.offset < cursor.offset ||
    (now.readerProof !== '' && now.readerProof !== cursor.proof),
};

/** Events of one read. Few, until it is known how large they are, or when nobody knows how many have piled up. */
const READ_EVENTS = { first: 8, most: 2000 } as const;
/** Bytes of data that a read aims at. */
const READ_BYTES = 1024 * 1024;
/** After so long without a read anything may have piled up. */
const FRESH_MS = 100;
/** No single answer takes longer: what is late is lost, and only a new connection is certain. */
const ANSWER_MS = 5000;

/**
 * The one blocking reader of a process. It reads the log from a concrete offset (never `$`, which loses what comes
 * between two reads), checks that every entry follows the one before, and hands them on by channel. Nothing that it waits
 * for may last: whatever goes wrong ends in a new connection, on which the log has to prove that it is still the same.
 */
export class Tail {
  readonly #connect: () => Redis;
  readonly #eventLog: Pick<EventLog, 'position'>;
  readonly #listener: TailListener;
  readonly #logger: Log;
  readonly #checks: TailChecks;
  readonly #restMs: number;
  #redis: Redis | undefined;
  #cursor: Cursor = { epoch: '', offset: 0, proof: NO_PROOF, revision: 0 };
  #count: number = READ_EVENTS.first;
  #readAt = 0;
  #stopped = false;
  #isFollowing = false;
  #running: Promise<void> | undefined;
  #caughtUpAt = 0;

  /**
   * @param connect a new connection to Redis, which does not reconnect by itself
   * @param restMs milliseconds between a read that brought something and the next, for a process in no hurry: what comes
   * together is read together; default 0
   */
  constructor(
    connect: () => Redis,
    eventLog: Pick<EventLog, 'position'>,
    listener: TailListener,
    logger: Log,
    checks: TailChecks = tailChecks,
    restMs = 0,
  ) {
    this.#connect = connect;
    this.#eventLog = eventLog;
    this.#listener = listener;
    this.#logger = logger;
    this.#checks = checks;
    this.#restMs = restMs;
  }

  /** The newest log entry that was handed on. */
  get cursor(): Cursor {
    return this.#cursor;
  }

  /** True when what is published now will be heard of: on a connection that works, and all was read but a moment ago. */
  get isCurrent(): boolean {
    return this.#isFollowing && this.sinceCaughtUp() < 2 * TAIL_BLOCK_MS;
  }

  /** Milliseconds since the tail last knew that it had read everything; `Infinity` before the first time. */
  sinceCaughtUp(now = performance.now()): number {
    return this.#caughtUpAt === 0 ? Number.POSITIVE_INFINITY : now - this.#caughtUpAt;
  }

  /** Starts reading at the log's newest entry. */
  start(): void {
    this.#running ??= this.#run();
  }

  /**
   * Stops reading: nothing is handed on from here. A read that is under way is not waited for: its answer is not looked
   * at.
   */
  stop(): void {
    this.#stopped = true;
    this.#redis?.disconnect();
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stopped) {
      const redis = this.#connect();
      this.#redis = redis;
      try {
        await this.#follow(redis, () => {
          if (failures > 0) this.#logger.info('the log is read again');
          failures = 0;
        });
      } catch (error) {
        if (this.#stopped) return;
        failures += 1;
        if (failures === 1) {
          this.#logger.warn('reading the log failed; trying again on a new connection', {
            error: describeError(error),
          });
        }
      } finally {
        this.#isFollowing = false;
        redis.disconnect();
      }
      await Bun.sleep(reconnectDelay(failures));
    }
  }

  async #follow(redis: Redis, onRead: () => void): Promise<void> {
    await connected(redis, ANSWER_MS);
    const hadPlace = this.#cursor.epoch !== '';
    const isSame = await this.#verify(redis);
    if (isSame && hadPlace && !this.#stopped) this.#listener.onReconnect?.();
    this.#isFollowing = true;
    while (!this.#stopped) {
      await this.#readOnce(redis);
      onRead();
    }
  }

  async #readOnce(redis: Redis): Promise<void> {
    // What has piled up while nobody read may be of any size: the first look at it is a small one.
    if (performance.now() - this.#readAt > FRESH_MS) this.#count = READ_EVENTS.first;
    const count = this.#count;
    const answer = await within(
      redis.xread(
        'COUNT',
        count,
        'BLOCK',
        TAIL_BLOCK_MS,
        'STREAMS',
        keys.stream(LOG_CHANNEL),
        entryId(this.#cursor.offset),
      ),
      ANSWER_MS,
      'a read of the log',
    );
    if (this.#stopped) return;
    const entries = entriesOf(answer).map(parseLogEntry);
    this.#readAt = performance.now();
    if (entries.length === 0) {
      await this.#verify(redis);
      return;
    }
    this.#adaptTo(entries);
    this.#handOn(entries);
    if (entries.length === count) return;
    this.#caughtUpAt = performance.now();
    if (this.#restMs > 0) await Bun.sleep(this.#restMs);
  }

  #adaptTo(entries: readonly LogEntry[]): void {
    const bytes = entries.reduce((sum, entry) => sum + entry.data.length, 0);
    const fitting = Math.floor((READ_BYTES * entries.length) / Math.max(1, bytes));
    // No more than four times what the guess rests on.
    this.#count = Math.max(1, Math.min(READ_EVENTS.most, fitting, Math.max(READ_EVENTS.first, entries.length) * 4));
  }

  /**
   * Asks the server whether it still holds what was read. A log that was deleted and begun again lower leaves an XREAD
   * waiting for ever (Redis answers only higher ids), and a new connection may lead to another server.
   * @returns true when it does
   */
  async #verify(redis: Redis): Promise<boolean> {
    const now = await within(
      this.#eventLog.position(LOG_CHANNEL, this.#cursor.offset, redis),
      ANSWER_MS,
      'the position of the log',
    );
    if (this.#stopped) return false;
    if (this.#cursor.epoch === '' || this.#checks.replaced(now, this.#cursor)) {
      this.#jumpTo(now);
      return false;
    }
    if (now.offset === this.#cursor.offset) this.#caughtUpAt = performance.now();
    return true;
  }

  #jumpTo({ epoch, offset, proof }: Position): void {
    if (this.#cursor.epoch !== '') {
      this.#logger.warn('the log was replaced; connections ask where they stand', { epoch, was: this.#cursor.epoch });
    }
    this.#cursor = { epoch, offset, proof, revision: 0 };
    this.#listener.onBreak(epoch);
  }

  #handOn(entries: readonly LogEntry[]): void {
    let run: LogEntry[] = [];
    for (const entry of entries) {
      if (!this.#checks.follows(entry, this.#cursor)) {
        this.#dispatch(run);
        run = [];
        this.#logger.warn('the log has a hole; connections go back to replay', {
          expected: this.#cursor.offset + 1,
          found: entry.offset,
        });
        this.#listener.onBreak(entry.epoch);
      }
      run.push(entry);
      this.#cursor = { epoch: entry.epoch, offset: entry.offset, proof: entry.proof, revision: 0 };
    }
    this.#dispatch(run);
  }

  #dispatch(entries: readonly LogEntry[]): void {
    const [head] = entries;
    if (head === undefined) return;
    const channels = new Map<string, Entry[]>([[LOG_CHANNEL, [...entries]]]);
    for (const entry of entries) {
      for (const { channel, ...place } of entry.places) {
        const numbered = { ...place, id: entry.id, topic: entry.topic, data: entry.data, epoch: entry.epoch };
        const list = channels.get(channel);
        if (list === undefined) channels.set(channel, [numbered]);
        else list.push(numbered);
      }
    }
    for (const [channel, list] of channels) {
      const [first, last] = [list[0], list.at(-1)];
      if (first === undefined || last === undefined) continue;
      this.#listener.onBatch({ epoch: head.epoch, channel, first: first.offset, last: last.offset, entries: list });
    }
  }
}
