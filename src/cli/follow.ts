import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { isJsonObject, type JsonObject } from '../bus/event.ts';
import { describeError } from '../errors.ts';
import { type Api, refusal } from './api.ts';
import { CliError } from './cli-error.ts';

/** What a stream of events has to tell: several at once where they came at once. */
export type Followed =
  | { readonly kind: 'events'; readonly events: readonly FollowedEvent[] }
  /** What was asked for, or what comes next, cannot be had; the stream goes on from where the log stands now. */
  | { readonly kind: 'reset'; readonly reason: string }
  /** For the person in front of it: the connection was lost, or is back. */
  | { readonly kind: 'note'; readonly text: string };

export interface FollowedEvent {
  /** The cursor behind this event. */
  readonly id: string;
  readonly data: JsonObject;
}

export interface FollowOptions {
  readonly patterns: readonly string[];
  /** The cursor to go on from; wins over `since`. */
  readonly from?: string | undefined;
  /** A time as the server takes it: `10m`, or seconds since the epoch. */
  readonly since?: string | undefined;
  /** Ends when all is told that was there. */
  readonly once: boolean;
  /** Where history does not reach back to `since`: true goes on from the oldest that is kept, false from now. */
  readonly takesLess: boolean;
  /** Milliseconds after which a server that says nothing is taken for gone; by default {@link SILENCE_MS}. */
  readonly silenceMs?: number;
  readonly signal: AbortSignal;
}

/** The server says something every 15 s by default, and may be told to say it less often. */
const SILENCE_MS = 90_000;
const RETRY_MS = { first: 1000, most: 30_000 } as const;
/** Characters of one frame: an event has 2 MiB at most. */
const MOST_FRAME = 16 * 1024 * 1024;
/** A server that holds us off for longer than this says so wrongly. */
const MOST_RETRY_AFTER_SECONDS = 60;

/** Whether it is worth coming back after such an answer. */
const isPassing = (status: number) => status === 429 || status >= 500;

/** What went wrong with a connection that had been, or may yet be, good. */
class LostError extends Error {
  readonly retryMs: number | undefined;

  constructor(message: string, retryMs?: number) {
    super(message);
    this.retryMs = retryMs;
  }
}

/**
 * The events of a pattern, each once and in order, however often the connection or the server dies: it comes back with the
 * cursor of the last event that was taken. Every frame names the one before it, and what does not follow on is not taken.
 */
export class Follower {
  readonly #api: Api;
  readonly #options: FollowOptions;
  #cursor: string | undefined;
  #since: string | undefined;
  #retryMs: number = RETRY_MS.first;
  /** In a row, without a frame in between. */
  #failures = 0;
  #hasOpened = false;
  #isOpening = true;

  constructor(api: Api, options: FollowOptions) {
    this.#api = api;
    this.#options = options;
    this.#cursor = options.from;
    this.#since = options.since;
  }

  /** Where one can go on later: behind the last event that was taken. */
  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** @throws {CliError} when it cannot begin, or may not go on */
  async *run(): AsyncGenerator<Followed, void, undefined> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      try {
        const isDone = yield* this.#connection();
        if (isDone) return;
      } catch (error) {
        if (signal.aborted) return;
        const lost = this.#lost(error);
        if (this.#failures === 0) yield { kind: 'note', text: `${lost.message}; coming back` };
        this.#failures += 1;
        await this.#pause(lost.retryMs);
      }
    }
  }

  /** One connection. @returns true when all is told that was asked for */
  async *#connection(): AsyncGenerator<Followed, boolean, undefined> {
    const connection = new AbortController();
    const abort = () => connection.abort();
    this.#options.signal.addEventListener('abort', abort, { once: true });
    const { silenceMs = SILENCE_MS } = this.#options;
    let watchdog = setTimeout(abort, silenceMs);
    const frames: EventSourceMessage[] = [];
    const parser = createParser({
      onEvent: (frame) => frames.push(frame),
      onRetry: (ms) => {
        this.#retryMs = Math.min(ms, RETRY_MS.most);
      },
      maxBufferSize: MOST_FRAME,
    });
    try {
      this.#isOpening = true;
      const response = await this.#open(connection.signal);
      const reader = response.body?.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const chunk = await reader?.read();
        clearTimeout(watchdog);
        if (chunk === undefined || chunk.done) break;
        parser.feed(decoder.decode(chunk.value, { stream: true }));
        yield* this.#take(frames.splice(0));
        if (this.#startsOver) return false;
        // Only while we wait: what the reader of our output takes its time for is nobody's silence.
        watchdog = setTimeout(abort, silenceMs);
      }
      if (this.#options.once && !this.#isOpening) return true;
      throw new LostError('the server ended the stream');
    } finally {
      clearTimeout(watchdog);
      this.#options.signal.removeEventListener('abort', abort);
      connection.abort();
    }
  }

  #startsOver = false;

  async #open(signal: AbortSignal): Promise<Response> {
    const query = new URLSearchParams({ topics: this.#options.patterns.join(',') });
    if (this.#options.once) query.set('once', '1');
    if (this.#since !== undefined && this.#cursor === undefined) query.set('since', this.#since);
    this.#startsOver = false;
    const response = await this.#api.fetch(`/api/v1/events?${query}`, {
      headers: {
        ...this.#api.headers,
        accept: 'text/event-stream',
        ...(this.#cursor === undefined ? {} : { 'last-event-id': this.#cursor }),
      },
      signal,
    });
    const { status, headers } = response;
    if (status === 200 && headers.get('content-type')?.startsWith('text/event-stream')) return response;
    const refused = refusal(response, await response.text());
    if (status === 200)
      throw new CliError('failed', `${this.#api.url} does not answer as decnet-live does: is the URL right?`);
    if (!this.#hasOpened || !isPassing(status)) throw refused;
    const seconds = Number(headers.get('retry-after') ?? 0);
    throw new LostError(refused.message, Math.min(seconds, MOST_RETRY_AFTER_SECONDS) * 1000);
  }

  *#take(frames: readonly EventSourceMessage[]): Generator<Followed, void, undefined> {
    let events: FollowedEvent[] = [];
    // Moved behind what was taken only: whoever asks for the cursor in between gets nothing twice and misses nothing.
    let cursor = this.#cursor;
    for (const frame of frames) {
      const data: unknown = JSON.parse(frame.data);
      if (!isJsonObject(data)) throw new CliError('failed', 'the server sent a frame that is no JSON object');
      if (frame.event === undefined || frame.event === 'position') {
        if (data.prev !== cursor) {
          yield* this.#give(events, cursor);
          throw new LostError(`there is a gap behind ${cursor ?? 'the beginning'}`);
        }
        cursor = frame.id ?? cursor;
        if (frame.event === undefined && cursor !== undefined) events.push({ id: cursor, data });
        continue;
      }
      yield* this.#give(events, cursor);
      events = [];
      if (frame.event === 'reset') {
        yield* this.#reset(data);
        if (this.#startsOver) return;
      } else {
        cursor = frame.id ?? cursor;
        this.#cursor = cursor;
        yield* this.#opening(frame.event, data);
      }
    }
    yield* this.#give(events, cursor);
  }

  *#give(events: readonly FollowedEvent[], cursor: string | undefined): Generator<Followed, void, undefined> {
    if (events.length > 0) yield { kind: 'events', events };
    this.#cursor = cursor;
  }

  *#opening(name: string, data: JsonObject): Generator<Followed, void, undefined> {
    if (name === 'evicted') return yield { kind: 'note', text: String(data.detail) };
    if (this.#failures > 0) yield { kind: 'note', text: `connected again, at ${this.#cursor}` };
    [this.#failures, this.#hasOpened, this.#isOpening] = [0, true, false];
  }

  *#reset(data: JsonObject): Generator<Followed, void, undefined> {
    const wasAsked = this.#cursor === undefined && this.#since !== undefined;
    yield { kind: 'reset', reason: String(data.reason) };
    this.#cursor = undefined;
    this.#startsOver = wasAsked && this.#options.takesLess && this.#since !== '0';
    this.#since = this.#startsOver ? '0' : undefined;
  }

  /** @throws what cannot be mended by coming back */
  #lost(error: unknown): LostError {
    if (error instanceof LostError) return error;
    if (error instanceof CliError && (error.exit !== 'unreachable' || !this.#hasOpened)) throw error;
    if (!this.#hasOpened)
      throw new CliError('unreachable', `${this.#api.url} does not answer: ${describeError(error)}`);
    return new LostError(`the connection was lost at ${this.#cursor ?? 'the beginning'} (${describeError(error)})`);
  }

  async #pause(retryMs = 0): Promise<void> {
    const backoff = Math.min(this.#retryMs * 2 ** Math.min(this.#failures - 1, 10), RETRY_MS.most);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.max(retryMs, backoff * (0.75 + Math.random() / 2)));
    this.#options.signal.addEventListener('abort', () => resolve(), { once: true });
    await promise.finally(() => clearTimeout(timer));
  }
}
