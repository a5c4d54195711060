import type { Entry } from '../bus/entry.ts';
import { createEvent, type Event, type JsonObject } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import { Heartbeat } from '../bus/heartbeat.ts';
import { payloadText } from '../bus/logged-event.ts';
import { subscription } from '../bus/subscription.ts';
import type { TailListener } from '../bus/tail.ts';
import { topics } from '../bus/topic.ts';
import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

export interface WorkerOptions {
  /** One of the known workers (contract §8). */
  readonly name: string;
  readonly events: Pick<EventLog, 'publish'>;
  readonly logger: Log;
  /** Ends the worker's work: called when it is told to stop over the bus. */
  stop(): Promise<unknown>;
  /** Tells more in each heartbeat. */
  extra?(): JsonObject;
  /** Milliseconds between heartbeats; default 30,000 (contract §8). */
  readonly heartbeatMs?: number;
  /** Milliseconds since the epoch. */
  now?(): number;
}

/** What makes a part of this process a worker to the outside: it says that it lives, and can be told to stop. */
export class Worker {
  /** For the tail: hears `system.<name>.control`. */
  readonly listener: TailListener;
  readonly #options: WorkerOptions;
  readonly #heartbeat: Heartbeat;
  #stopped = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
    const { name, events, logger, heartbeatMs = 30_000 } = options;
    const event = () => this.#health();
    this.#heartbeat = new Heartbeat({ name, events, logger, intervalMs: heartbeatMs, event });
    this.listener = subscription(
      [topics.systemControl(name)],
      (entry) => this.#onControl(entry),
      // A missed stop is given again by whoever sees the heartbeats go on.
      () => {},
    );
  }

  start(): void {
    this.#heartbeat.start();
  }

  /** Ends the heartbeats; the work itself is stopped by its owner. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#heartbeat.stop();
  }

  #health(): Event {
    const { name, now = Date.now } = this.#options;
    const at = now();
    const told = { worker: name, ts: at / 1000, ...this.#options.extra?.() };
    return createEvent(topics.systemHealth(name), 'health', told, undefined, at);
  }

  #onControl(entry: Entry): void {
    const { name, logger } = this.#options;
    if (payloadText(entry, 'action') !== 'stop' || this.#stopped) return;
    logger.info('a worker was told to stop', { worker: name });
    const stopping = Promise.all([this.stop(), this.#options.stop()]);
    stopping.catch((error) => logger.error('a worker did not stop', { worker: name, error: describeError(error) }));
  }
}
