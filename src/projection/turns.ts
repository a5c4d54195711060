import type { Engine } from '../db/database.ts';

/**
 * Lets the work of several go one at a time where it blocks the process, as SQLite's does, and everybody else have a turn in
 * between: one after the other without one they would hold up the event loop for the sum of their times.
 */
export class Turns {
  readonly #isBlocking: boolean;
  #last: Promise<unknown> = Promise.resolve();

  constructor(engine: Engine) {
    this.#isBlocking = engine === 'sqlite';
  }

  /** Runs it when it is its turn. Rejects as it does. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    let began = performance.now();
    if (this.#isBlocking) this.#last = promise;
    try {
      if (this.#isBlocking) await before;
      began = performance.now();
      return await work();
    } finally {
      // Streams come first: what blocks them takes a third of the time at most, however much there is to do.
      const restMs = this.#isBlocking ? (performance.now() - began) * REST : 0;
      await (restMs > SHORTEST_REST_MS ? Bun.sleep(restMs) : nextTurn());
      resolve();
    }
  }
}

/** So many times as long as it worked it rests. */
const REST = 2;
/** A timer is no finer. */
const SHORTEST_REST_MS = 1;

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
