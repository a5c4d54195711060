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
    if (this.#isBlocking) this.#last = promise;
    try {
      if (this.#isBlocking) await before;
      return await work();
    } finally {
      await nextTurn();
      resolve();
    }
  }
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
