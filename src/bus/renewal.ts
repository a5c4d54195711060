import { Exclusive } from './exclusive.ts';

export interface RenewalOptions {
  /** How long what is renewed lasts, in milliseconds; it is renewed every third of that. */
  readonly leaseMs: number;
  /** Renews it. @returns `false` when it is lost for good: then nothing is renewed any more */
  readonly renew: () => Promise<unknown>;
  /** A renewal failed; the next one tries again. By default nobody is told. */
  readonly onError?: (error: unknown) => void;
}

/** Keeps a lease or a claim that runs out by itself: one renewal at a time, for as long as it is wanted. */
export class Renewal {
  readonly #task: Exclusive;
  readonly #timer: Timer;

  /** Begins a third of the lease from now: whoever took it has it until then. */
  constructor({ leaseMs, renew, onError = () => {} }: RenewalOptions) {
    this.#task = new Exclusive(async () => {
      if ((await renew()) === false) clearInterval(this.#timer);
    });
    this.#timer = setInterval(() => void this.#task.run().catch(onError), Math.ceil(leaseMs / 3));
  }

  /** Renews now, or joins the renewal under way. */
  now(): Promise<void> {
    return this.#task.run();
  }

  /** Nothing is renewed any more once this resolves. Safe to call twice. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled([this.#task.running]);
  }
}
