import type { Publication } from '../bus/event-log.ts';
import type { Answer } from './publications.ts';

/** Events that travel together. A script call holds Redis up for some 6 µs an event. */
const MOST_EVENTS = 500;

interface Waiting {
  readonly publications: readonly Publication[];
  readonly outcome: PromiseWithResolvers<readonly Answer[]>;
}

/**
 * Publishes what one producer sends without waiting for answers, in its order: what comes while a call is under way travels
 * in the next one. How much may wait is for the caller to bound.
 */
export class PublishQueue {
  readonly #publish: (publications: readonly Publication[]) => Promise<readonly Answer[]>;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  /** @param publish answers each event; throws an `AppError` when it cannot say what became of them */
  constructor(publish: (publications: readonly Publication[]) => Promise<readonly Answer[]>) {
    this.#publish = publish;
  }

  /**
   * @returns an answer for each
   * @throws what the call threw, also when it was one for events before these: none is published ahead of another
   */
  add(publications: readonly Publication[]): Promise<readonly Answer[]> {
    const outcome = Promise.withResolvers<readonly Answer[]>();
    this.#waiting.push({ publications, outcome });
    this.#running ??= this.#run();
    return outcome.promise;
  }

  /** Resolves when nothing waits. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // What comes in the same tick travels together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#take();
      try {
        const answers = await this.#publish(batch.flatMap(({ publications }) => publications));
        let start = 0;
        for (const { publications, outcome } of batch) {
          outcome.resolve(answers.slice(start, start + publications.length));
          start += publications.length;
        }
      } catch (error) {
        for (const { outcome } of [...batch, ...this.#waiting.splice(0)]) outcome.reject(error);
      }
    }
    // In the moment that nothing is found: whoever comes from here on begins anew.
    this.#running = undefined;
  }

  /** Whole messages, at least one. */
  #take(): Waiting[] {
    let events = 0;
    const end = this.#waiting.findIndex(({ publications }, index) => {
      events += publications.length;
      return index > 0 && events > MOST_EVENTS;
    });
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }
}
