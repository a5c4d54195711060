import { describeError } from './errors.ts';
import type { Log } from './telemetry/log.ts';

type Stop = () => unknown;

/** How long any one part may take to stop. */
const STOP_PART_MS = 15_000;

/** What was started, and how it ends: in the opposite order, each in its time, whatever became of the others. */
export class Stops {
  readonly #logger: Log;
  readonly #stops: Stop[] = [];
  #stopping: Promise<void> | undefined;

  constructor(logger: Log) {
    this.#logger = logger;
  }

  /** @param stop ends what has just been started */
  add(stop: Stop): void {
    this.#stops.push(stop);
  }

  /** Safe to call twice. */
  stopAll(): Promise<void> {
    this.#stopping ??= this.#run();
    return this.#stopping;
  }

  async #run(): Promise<void> {
    for (const stop of this.#stops.reverse()) {
      try {
        await inTime(stop);
      } catch (error) {
        this.#logger.warn('a part did not stop cleanly', { error: describeError(error) });
      }
    }
  }
}

/** One part that waits for a service which has vanished must not keep the others from stopping. */
async function inTime(stop: Stop): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not stopped within ${STOP_PART_MS} ms`)), STOP_PART_MS);
  try {
    await Promise.race([stop(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
