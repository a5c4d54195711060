import { describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

/** Something that has work to do, a little at a time. */
export interface Task {
  /**
   * Does a part of it.
   * @param end when it should stop, in milliseconds of `performance.now()`
   * @returns whether some is left
   */
  step(end: number): boolean;
}

/** Milliseconds of work on one task. */
const STEP_MS = 1;
/** Milliseconds of work before everything else in the process has its turn. */
const TURN_MS = 4;

/** Gives every task its turn, so that however much comes over the socket, all of it together holds nothing up. */
export class Turns {
  readonly #logger: Log;
  readonly #queue = new Set<Task>();
  #isDue = false;

  constructor(logger: Log) {
    this.#logger = logger;
  }

  add(task: Task): void {
    this.#queue.add(task);
    this.#wake();
  }

  #wake(): void {
    if (this.#isDue || this.#queue.size === 0) return;
    this.#isDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#isDue = false;
    const end = performance.now() + TURN_MS;
    // Who is put back at the end of the queue comes again in this loop.
    for (const task of this.#queue) {
      this.#queue.delete(task);
      if (this.#step(task)) this.#queue.add(task);
      if (performance.now() >= end) break;
    }
    this.#wake();
  }

  #step(task: Task): boolean {
    try {
      return task.step(performance.now() + STEP_MS);
    } catch (error) {
      this.#logger.error('work of the bus socket failed', { error: describeError(error) });
      return false;
    }
  }
}
