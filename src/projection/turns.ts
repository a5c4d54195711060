import type { Engine } from '../db/database.ts';

/**
 * Lets the work of several go one at a time where it blocks the process, as SQLite's does, and everybody else have a turn in
 * between: one after the other without one they would hold up the event loop for the sum of their times.
 */
export class Turns {
  readonly #isBlocking: boolean;
  readonly #rests: boolean;
  #last: Promise<unknown> = Promise.resolve();

  /** @param servesNobody nobody's request or stream waits for this process, so nobody waits for a rest */
  constructor(engine: Engine, servesNobody = false) {
    this.#isBlocking = engine === 'sqlite';
    this.#rests = this.#isBlocking && !servesNobody;
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
      // A file that another process held blocks nobody: that wait is no work, and asks for no long rest.
      const restMs = this.#rests ? Math.min((performance.now() - began) * REST, LONGEST_REST_MS) : 0;
      await (restMs > SHORTEST_REST_MS ? Bun.sleep(restMs) : nextTurn());
      resolve();
    }
  }
}

/** So many times as long as it worked it rests. */
const REST = 2;
const LONGEST_REST_MS = 50;
/** A timer is no finer. */
const SHORTEST_REST_MS = 1;

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
