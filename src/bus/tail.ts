import type { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { LOG_CHANNEL } from './channel.ts';
import type { Cursor } from './cursor.ts';
import { type Batch, type Entry, entryId, type LogEntry, parseLogEntry } from './entry.ts';
import type { EventLog } from './event-log.ts';
import { entriesOf } from './groups.ts';
import { keys } from './keys.ts';
import { TAIL_BLOCK_MS } from './redis.ts';

/** Who is told what the tail reads. Called synchronously, in order. */
export interface TailListener {
  /** Events of one channel, contiguous with the batch before it unless {@link onBreak} came between. */
  onBatch(batch: Batch): void;
  /**
   * The stream of batches is broken: events in between were not seen. What comes next may be of another epoch.
   * @param epoch the epoch from here on
   */
  onBreak(epoch: string): void;
}

/** Which checks the tail makes on what it reads; a negative control switches one off. */
export interface TailChecks {
  /** True when an entry is the one that follows the cursor. */
  follows(entry: LogEntry, cursor: Cursor): boolean;
  /** True when the log, asked at an idle moment or after a reconnect, is no longer the one that the tail reads. */
  replaced(now: Cursor, cursor: Cursor): boolean;
}

export const tailChecks: TailChecks = {
  follows: (entry, cursor) => entry.epoch === cursor.epoch && entry.offset === cursor.offset + 1,
  replaced: (now, cursor) => now.epoch !== cursor.epoch || now.offset < cursor.offset,
};

const READ_COUNT = 2000;
const RETRY_MS = 200;

/**
 * The one blocking reader of a process. It reads the log from a concrete offset (never `$`, which loses what comes
 * between two reads), checks that every entry follows the one before, and hands them on by channel.
 */
export class Tail {
  readonly #redis: Redis;
  readonly #log: EventLog;
  readonly #listener: TailListener;
  readonly #logger: Log;
  readonly #checks: TailChecks;
  #cursor: Cursor = { epoch: '', offset: 0 };
  /** Id of the event at the cursor; empty before one was read. */
  #eventId = '';
  #newConnection = true;
  #stopped = false;
  #started = false;
  #caughtUpAt = 0;

  constructor(redis: Redis, log: EventLog, listener: TailListener, logger: Log, checks: TailChecks = tailChecks) {
    this.#redis = redis;
    this.#log = log;
    this.#listener = listener;
    this.#logger = logger;
    this.#checks = checks;
    // ioredis sends the interrupted read again on its own; its answer must not be believed before the server is known.
    redis.on('ready', () => {
      this.#newConnection = true;
    });
  }

  /** The newest log entry that was handed on. */
  get cursor(): Cursor {
    return this.#cursor;
  }

  /** Milliseconds since the tail last knew that it had read everything; `Infinity` before the first time. */
  sinceCaughtUp(now = performance.now()): number {
    return this.#caughtUpAt === 0 ? Number.POSITIVE_INFINITY : now - this.#caughtUpAt;
  }

  /** Starts reading at the log's newest entry. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    void this.#run();
  }

  /**
   * Stops reading: nothing is handed on from here. A read that is under way is not waited for: with Redis away it may
   * take long to settle, and its answer is not looked at.
   */
  stop(): void {
    this.#stopped = true;
    this.#redis.disconnect();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        if (this.#newConnection) await this.#adopt();
        await this.#readOnce();
      } catch (error) {
        if (this.#stopped) return;
        this.#logger.warn('reading the log failed; trying again', { error: describeError(error) });
        // A read without an answer may still be in the pipe: only a new connection is certain.
        if (this.#redis.status === 'ready') this.#redis.disconnect(true);
        await Bun.sleep(RETRY_MS);
      }
    }
  }

  async #readOnce(): Promise<void> {
    const answer = await this.#redis.xread(
      'COUNT',
      READ_COUNT,
      'BLOCK',
      TAIL_BLOCK_MS,
      'STREAMS',
      keys.stream(LOG_CHANNEL),
      entryId(this.#cursor.offset),
    );
    if (this.#stopped) return;
    if (this.#newConnection) return; // The loop adopts the server and reads again: nothing has been handed on.
    const entries = entriesOf(answer).map(parseLogEntry);
    if (entries.length === 0) return this.#verify();
    this.#handOn(entries);
    if (entries.length < READ_COUNT) this.#caughtUpAt = performance.now();
  }

  async #adopt(): Promise<void> {
    this.#newConnection = false;
    const now = await this.#log.adopt(this.#redis, this.#seen()).catch((error) => {
      this.#newConnection = true;
      throw error;
    });
    if (this.#cursor.epoch === '' || this.#checks.replaced(now, this.#cursor)) this.#jumpTo(now);
  }

  /** A log that was deleted and begun again lower leaves an XREAD waiting for ever (Redis answers only higher ids). */
  async #verify(): Promise<void> {
    const now = await this.#log.position(LOG_CHANNEL);
    if (this.#checks.replaced(now, this.#cursor)) {
      // The same epoch with lower offsets: acknowledged events were lost. Adopting rotates the epoch.
      this.#jumpTo(now.epoch === this.#cursor.epoch ? await this.#log.adopt(this.#redis, this.#seen()) : now);
    } else if (now.offset === this.#cursor.offset) {
      this.#caughtUpAt = performance.now();
    }
  }

  #seen(): Cursor & { readonly eventId: string } {
    return { ...this.#cursor, eventId: this.#eventId };
  }

  #jumpTo(cursor: Cursor): void {
    if (this.#stopped) return;
    if (this.#cursor.epoch !== '') {
      this.#logger.warn('the log was replaced; connections reset', { epoch: cursor.epoch, was: this.#cursor.epoch });
    }
    this.#cursor = { epoch: cursor.epoch, offset: cursor.offset };
    this.#eventId = '';
    this.#listener.onBreak(cursor.epoch);
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
      this.#cursor = { epoch: entry.epoch, offset: entry.offset };
      this.#eventId = entry.id;
    }
    this.#dispatch(run);
  }

  #dispatch(entries: readonly LogEntry[]): void {
    const [head] = entries;
    if (head === undefined) return;
    const channels = new Map<string, Entry[]>([[LOG_CHANNEL, [...entries]]]);
    for (const entry of entries) {
      for (const { channel, offset, revision } of entry.places) {
        const numbered = { offset, id: entry.id, topic: entry.topic, data: entry.data, revision };
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
