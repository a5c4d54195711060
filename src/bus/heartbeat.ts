import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Event } from './event.ts';
import type { EventLog } from './event-log.ts';
import { WakeableSleep } from './wake.ts';

export interface HeartbeatOptions {
  /** Whose: for the logger. */
  readonly name: string;
  readonly events: Pick<EventLog, 'publish'>;
  readonly logger: Log;
  /** Milliseconds between two. */
  readonly intervalMs: number;
  /** What each of them says. */
  event(): Event;
}

/** Says again and again that something lives, the first time at once. One that cannot be said is not said later. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #sleep = new WakeableSleep();
  #failing = false;
  #stopped = false;
  #beating: Promise<void> | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Safe to call again. */
  start(): void {
    this.#beating ??= this.#beat();
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sleep.wake();
    await this.#beating;
  }

  async #beat(): Promise<void> {
    const { name, events, logger, intervalMs } = this.#options;
    while (!this.#stopped) {
      try {
        await events.publish([{ event: this.#options.event() }]);
        this.#failing = false;
      } catch (error) {
        if (!this.#failing && !this.#stopped)
          logger.warn('a heartbeat was lost', { worker: name, error: describeError(error) });
        this.#failing = true;
      }
      await this.#sleep.sleep(intervalMs);
    }
  }
}
