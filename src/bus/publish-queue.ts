import { ReplyError } from 'ioredis';

/** Events and characters of data that travel together; what one publisher has may be more. */
const MOST = { events: 500, size: 1024 * 1024 } as const;

interface Waiting<Item, Result> {
  readonly items: readonly Item[];
  readonly size: number;
  readonly outcome: PromiseWithResolvers<Result[]>;
}

/** What one turn of the event loop brings, from however many sockets, travels together. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Lets the publishers of a process travel to Redis together: who comes while others are on their way goes with the next
 * call, so that a call, and the sync of the append-only file behind it, is shared by as many as there are. In the order
 * in which they came, and each gets an answer of his own.
 */
export class PublishQueue<Item, Result> {
  readonly #send: (items: readonly Item[], again: boolean) => Promise<Result[]>;
  #waiting: Waiting<Item, Result>[] = [];
  #isUnderWay = false;

  /**
   * @param send publishes in order and answers for each; what it published before it failed it knows when it is sent `again`
   */
  constructor(send: (items: readonly Item[], again: boolean) => Promise<Result[]>) {
    this.#send = send;
  }

  /**
   * @param size characters of data, about
   * @throws what `send` threw
   */
  publish(items: readonly Item[], size: number): Promise<Result[]> {
    const outcome = Promise.withResolvers<Result[]>();
    this.#waiting.push({ items, size, outcome });
    void this.#run();
    return outcome.promise;
  }

  /** Never rejects: whoever waits is told. */
  async #run(): Promise<void> {
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    while (this.#waiting.length > 0) {
      await nextTurn();
      await this.#sendTogether(this.#take());
    }
    this.#isUnderWay = false;
  }

  async #sendTogether(together: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#send(
        together.flatMap(({ items }) => items),
        false,
      );
      let at = 0;
      for (const { items, outcome } of together) {
        outcome.resolve(results.slice(at, at + items.length));
        at += items.length;
      }
    } catch (error) {
      // Redis refuses what one of them has: apart, each learns whether it is his.
      if (error instanceof ReplyError && together.length > 1) {
        for (const { items, outcome } of together) await this.#send(items, true).then(outcome.resolve, outcome.reject);
        return;
      }
      // Where Redis cannot be reached, those behind need not find that out one after the other.
      const all = error instanceof ReplyError ? together : [...together, ...this.#waiting.splice(0)];
      for (const { outcome } of all) outcome.reject(error);
    }
  }

  #take(): Waiting<Item, Result>[] {
    let [count, events, size] = [0, 0, 0];
    for (const waiting of this.#waiting) {
      events += waiting.items.length;
      size += waiting.size;
      if (count > 0 && (events > MOST.events || size > MOST.size)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}
