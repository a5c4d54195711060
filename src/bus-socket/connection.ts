import { assertPublishable, type Event, EventError, isJsonObject, type JsonObject } from '../bus/event.ts';
import { matcher, TopicError } from '../bus/topic.ts';
import { AppError, describeError } from '../errors.ts';
import { assertBounded } from '../http/json-body.ts';
import type { Log } from '../telemetry/log.ts';
import { encodeFrame, type Frame, FrameReader, ProtocolError, parseBody } from './frames.ts';
import { Origin } from './origin.ts';
import { type ByteSink, Outbound } from './outbound.ts';
import { Publisher, type PublisherParts } from './publisher.ts';
import type { BusSocketStats, RareWarning } from './stats.ts';
import type { Task, Turns } from './turns.ts';

/** What a connection needs of its socket. */
export interface PeerSocket extends ByteSink {
  pause(): void;
  resume(): void;
  end(): void;
}

export interface ConnectionParts extends Omit<PublisherParts, 'onProgress'> {
  readonly logger: Log;
  readonly stats: BusSocketStats;
  readonly turns: Turns;
  /** The topics that may be published here. */
  readonly mayPublish: (topic: string) => boolean;
  readonly refusals: RareWarning;
  readonly violations: RareWarning;
  readonly cuts: RareWarning;
  /** Called once, when the other side is gone and Redis has all that it published. */
  readonly onDone: (connection: Connection) => void;
}

/**
 * Bytes of a connection that wait for Redis, some 6,000 small events. Beyond that its socket is not read, so that whoever
 * publishes waits, too. Twice as much as a frame and a read, or a frame that is half there could not be finished.
 */
const HELD_BYTES = 4 * 1024 * 1024;
/** Patterns of one connection. DECNET's own clients have ten at most. */
const MAX_PATTERNS = 256;
const MAX_NAME = 100;
const BYE = encodeFrame('BYE');

/** One peer of the bus socket: reads what it sends, a little at a time, and gives it what it has subscribed to. */
export class Connection implements Task {
  readonly origin = new Origin();
  readonly #socket: PeerSocket;
  readonly #parts: ConnectionParts;
  readonly #reader = new FrameReader();
  readonly #publisher: Publisher;
  readonly #outbound: Outbound;
  readonly #patterns = new Set<string>();
  #isWanted: ((topic: string) => boolean) | undefined;
  #name = '';
  #isPaused = false;
  /** Nothing more comes: the other side has ended, or has broken the rules, or this side stops. */
  #hasEnded = false;
  #isClosed = false;
  #isDone = false;

  constructor(socket: PeerSocket, parts: ConnectionParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.#publisher = new Publisher({ ...parts, onProgress: () => parts.turns.add(this) });
    this.#outbound = new Outbound(socket, parts.stats, (level, message, dropped) =>
      parts.logger[level](message, { peer: this.#name, dropped }),
    );
  }

  /** True when it has subscribed to anything. */
  get isSubscribed(): boolean {
    return this.#isWanted !== undefined;
  }

  wants(topic: string): boolean {
    return !this.#isClosed && this.#isWanted?.(topic) === true;
  }

  /** Takes an event's frame; {@link flush} writes it. */
  deliver(frame: Uint8Array): void {
    this.#outbound.push(frame);
  }

  /** Writes what the other side takes. */
  flush(): void {
    if (!this.#isClosed) this.#outbound.flush();
  }

  /** Bytes have come. */
  onData(bytes: Uint8Array): void {
    if (this.#hasEnded) return;
    this.#reader.push(bytes);
    this.#regulate();
    this.#parts.turns.add(this);
  }

  /** @param error when it broke: what it had sent last may be unread, which only matters while it was not read */
  onClose(error?: unknown): void {
    if (this.#isClosed) return;
    if (error !== undefined && this.#isPaused) {
      // The kernel throws away what a broken connection holds.
      this.#parts.stats.lost += 1;
      this.#parts.logger.warn('a peer of the bus socket broke off while redis was away; what it sent last is lost', {
        peer: this.#name,
        error: describeError(error),
      });
    }
    this.#hasEnded = true;
    this.#isClosed = true;
    this.#unsubscribeAll();
    this.#parts.turns.add(this);
  }

  /** Says goodbye and reads nothing more; what was read is still published. */
  end(): void {
    if (!this.#isClosed) this.#outbound.push(BYE);
    this.flush();
    this.#hasEnded = true;
    this.#close();
    this.#parts.turns.add(this);
  }

  /** Forgets what Redis has not taken. */
  giveUp(): void {
    this.#publisher.giveUp();
  }

  step(end: number): boolean {
    let mayHaveMore = false;
    try {
      mayHaveMore = this.#readUntil(end);
    } catch (error) {
      this.#onViolation(error);
    }
    this.#publisher.flush();
    this.#regulate();
    if (!mayHaveMore) this.#finish();
    return mayHaveMore;
  }

  /** @returns false when there is nothing more to read */
  #readUntil(end: number): boolean {
    do {
      const frame = this.#reader.next();
      if (frame === undefined) return false;
      this.#on(frame);
    } while (performance.now() < end);
    return true;
  }

  #on(frame: Frame): void {
    const { verb, argument } = frame;
    // Whatever the verb: what is no object means that the two sides do not understand each other.
    if (verb !== 'PUB' && frame.body.length > 0) parseBody(frame.body);
    switch (verb) {
      case 'HELLO':
        this.#onHello(argument.slice(0, MAX_NAME));
        break;
      case 'PUB':
        this.#onPublication(argument, frame.body);
        break;
      case 'SUB':
        this.#patterns.add(argument);
        if (this.#patterns.size > MAX_PATTERNS) throw new ProtocolError(`more than ${MAX_PATTERNS} subscriptions`);
        this.#isWanted = matcher([...this.#patterns]);
        break;
      case 'UNSUB':
        this.#patterns.delete(argument);
        this.#isWanted = this.#patterns.size === 0 ? undefined : matcher([...this.#patterns]);
        break;
      case 'BYE':
        this.#hasEnded = true;
        this.#reader.clear();
        this.#close();
        break;
      case 'EVT':
        throw new ProtocolError('EVT, which only this side sends');
    }
  }

  #onHello(name: string): void {
    // Once, however often it is said.
    if (this.#name === '') this.#parts.logger.info('a peer of the bus socket says hello', { peer: name });
    this.#name = name;
  }

  #onPublication(topic: string, body: Uint8Array): void {
    try {
      if (!this.#parts.mayPublish(topic)) throw new EventError('topic', 'DECNET_BUS_PUBLISH does not allow this topic');
      assertBounded(body);
      const event = this.#eventOf(topic, parseBody(body));
      this.#publisher.add(event, body.length);
    } catch (error) {
      const isRefused = error instanceof TopicError || error instanceof EventError || error instanceof AppError;
      if (!isRefused) throw error;
      this.#parts.stats.refused += 1;
      this.#parts.refusals.warn({ peer: this.#name, topic, error: error.message });
    }
  }

  /** Only type and payload are the peer's (contract §2.1). */
  #eventOf(topic: string, envelope: JsonObject): Event {
    const { type = '', payload = {} } = envelope;
    if (typeof type !== 'string') throw new EventError('type', 'a type must be a text');
    if (!isJsonObject(payload)) throw new EventError('unreadable', 'a payload must be a JSON object');
    const event: Event = { v: 1, id: this.origin.mint(), topic, type, ts: Date.now() / 1000, payload };
    assertPublishable(event);
    return event;
  }

  #onViolation(error: unknown): void {
    // Whatever it is: nobody knows what this connection says next.
    this.#parts.stats.violations += 1;
    this.#parts.violations.warn({ peer: this.#name, error: describeError(error) });
    this.#hasEnded = true;
    this.#reader.clear();
    this.#close();
  }

  /** Reads, or does not: one who publishes faster than Redis takes it waits in his own `write`. */
  #regulate(): void {
    if (this.#hasEnded) return;
    const held = this.#reader.buffered + this.#publisher.heldBytes;
    if (!this.#isPaused && held > HELD_BYTES) {
      this.#isPaused = true;
      this.#socket.pause();
    } else if (this.#isPaused && held < HELD_BYTES / 2) {
      this.#isPaused = false;
      this.#socket.resume();
    }
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unsubscribeAll();
    this.#socket.end();
  }

  #unsubscribeAll(): void {
    this.#patterns.clear();
    this.#isWanted = undefined;
  }

  #finish(): void {
    if (!this.#hasEnded || !this.#publisher.isIdle || this.#isDone) return;
    this.#isDone = true;
    if (this.#reader.isInside) this.#parts.cuts.warn({ peer: this.#name });
    this.#parts.onDone(this);
  }
}
