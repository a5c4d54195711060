import { nextTurn } from '../stream/slices.ts';

/**
 * One question for all who wait: each passes on an answer that was asked for after it came, and in the order of coming.
 */
export class Gate {
  readonly #ask: () => Promise<void>;
  #waiting: PromiseWithResolvers<void>[] = [];
  #isAsking = false;

  /** @param ask throws what keeps them from passing */
  constructor(ask: () => Promise<void>) {
    this.#ask = ask;
  }

  /** @throws what the question threw, to all who waited for it */
  pass(): Promise<void> {
    const outcome = Promise.withResolvers<void>();
    this.#waiting.push(outcome);
    void this.#run();
    return outcome.promise;
  }

  /** Never rejects: whoever waits is told. */
  async #run(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    while (this.#waiting.length > 0) {
      // What one read of the socket brings passes together.
      await nextTurn();
      const together = this.#waiting.splice(0);
      try {
        await this.#ask();
        for (const outcome of together) outcome.resolve();
      } catch (error) {
        for (const outcome of together) outcome.reject(error);
      }
    }
    this.#isAsking = false;
  }
}
