import { ReplyError } from 'ioredis';
import type { Event } from '../bus/event.ts';
import type { EventLog, Publication } from '../bus/event-log.ts';
import { noticeOf } from '../bus/outbox-publication.ts';
import { reconnectDelay } from '../bus/redis.ts';
import { WakeableSleep } from '../bus/wake.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { BoundedQueue } from './bounded-queue.ts';
import type { BusSocketStats } from './stats.ts';

export interface PublisherParts {
  readonly events: Pick<EventLog, 'publish'>;
  readonly logger: Log;
  readonly stats: BusSocketStats;
  /** Settles when the tail has its place: what was published before that nobody would be told. */
  readonly tailBegun: Promise<unknown>;
  /** Called when it holds less. */
  readonly onProgress: () => void;
}

/** Travel to Redis as one script call: it holds up everything else there. */
const BATCH_EVENTS = 128;
const BATCH_BYTES = 256 * 1024;
/** What an event costs beside its text. */
const EVENT_BYTES = 512;
/** So often Redis may refuse a single event before it is asked whether it takes any other. */
const REFUSALS = 3;

interface Waiting extends Publication {
  /** That it counts. */
  readonly bytes: number;
}

/**
 * What one connection publishes, in its order, each event once: while Redis is away everything waits. Its owner looks at
 * {@link heldBytes} and stops reading.
 */
export class Publisher {
  readonly #parts: PublisherParts;
  // Never too much for it: its owner stops before.
  readonly #waiting = new BoundedQueue<Waiting>({ items: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY });
  readonly #sleep = new WakeableSleep();
  #underWay: readonly Waiting[] = [];
  #bytesUnderWay = 0;
  #failures = 0;
  #isWorking = false;
  #gaveUp = false;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
  }

  /** Bytes of events that Redis has not taken yet. */
  get heldBytes(): number {
    return this.#waiting.bytes + this.#bytesUnderWay;
  }

  get isIdle(): boolean {
    return !this.#isWorking;
  }

  /** @param bytes that it came as */
  add(event: Event, bytes: number): void {
    const counted = bytes + EVENT_BYTES;
    this.#waiting.push({ event, bytes: counted }, counted);
  }

  /** Lets what was added go. After several: they travel together. */
  flush(): void {
    if (this.#isWorking || this.#waiting.length === 0 || this.#gaveUp) return;
    this.#isWorking = true;
    void this.#work();
  }

  /** Publishes nothing more. What waits is lost; so may be what is under way. */
  giveUp(): void {
    this.#gaveUp = true;
    this.#parts.stats.lost += this.#waiting.length + this.#underWay.length;
    this.#sleep.wake();
  }

  async #work(): Promise<void> {
    await this.#parts.tailBegun;
    for (let batch = this.#nextBatch(); batch.length > 0 && !this.#gaveUp; batch = this.#nextBatch()) {
      await this.#publish(batch);
      this.#underWay = [];
      this.#bytesUnderWay = 0;
      this.#parts.onProgress();
    }
    this.#isWorking = false;
    this.#parts.onProgress();
  }

  #nextBatch(): readonly Waiting[] {
    const batch: Waiting[] = [];
    let bytes = 0;
    for (
      let next = this.#waiting.peek();
      next !== undefined && batch.length < BATCH_EVENTS;
      next = this.#waiting.peek()
    ) {
      if (batch.length > 0 && bytes + next.bytes > BATCH_BYTES) break;
      this.#waiting.shift();
      batch.push(next);
      bytes += next.bytes;
    }
    this.#underWay = batch;
    this.#bytesUnderWay = bytes;
    return batch;
  }

  async #publish(batch: readonly Waiting[]): Promise<void> {
    const { events, stats } = this.#parts;
    let size = batch.length;
    while (this.#underWay.length > 0 && !this.#gaveUp) {
      const part = this.#underWay.slice(0, size);
      try {
        await events.publish(part);
        stats.published += part.length;
        this.#underWay = this.#underWay.slice(part.length);
        this.#succeeded();
      } catch (error) {
        this.#failed(error);
        // One at a time, so that the one that Redis refuses shows itself.
        if (error instanceof ReplyError) size = 1;
        if (this.#failures >= REFUSALS && (await this.#isAtFault(part, error))) {
          stats.refused += 1;
          this.#underWay = this.#underWay.slice(1);
          this.#failures = 0;
        } else if (!this.#gaveUp) await this.#sleep.sleep(reconnectDelay(this.#failures));
      }
    }
  }

  /** Asks Redis to take, in place of a publication that it refuses, an event that says so: if it does, it was the publication. */
  async #isAtFault([first, ...others]: readonly Waiting[], error: unknown): Promise<boolean> {
    if (!(error instanceof ReplyError) || first === undefined || others.length > 0) return false;
    const { id, topic } = first.event;
    try {
      await this.#parts.events.publish([noticeOf({ event_id: id, topic }, describeError(error))]);
    } catch {
      return false; // It takes nothing at all, for now.
    }
    this.#parts.logger.error('redis refuses a publication of the bus socket; the log says so in its place', {
      topic,
      event: id,
      error: describeError(error),
    });
    return true;
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    if (this.#failures > 1) return;
    this.#parts.logger.warn('publications of the bus socket wait: redis does not take them', {
      error: describeError(error),
    });
  }

  #succeeded(): void {
    if (this.#failures > 0) this.#parts.logger.info('redis takes the publications of the bus socket again');
    this.#failures = 0;
  }
}
