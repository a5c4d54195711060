import { WakeableSleep } from './wake.ts';

/** Work that is done turn by turn until it is stopped, with sleeps in between that can be cut short. */
export class Loop {
  readonly #turn: () => Promise<number>;
  readonly #sleep = new WakeableSleep();
  #isStopped = false;
  #running: Promise<void> | undefined;

  /** @param turn does what there is to do and must not reject; answers how many milliseconds to sleep at most, 0 for none */
  constructor(turn: () => Promise<number>) {
    this.#turn = turn;
  }

  /** Nothing new is to be begun. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Safe to call again. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** There may be something to do: ends the sleep under way, or the next one. */
  wake(): void {
    this.#sleep.wake();
  }

  /** Resolves when the turn under way is over. Safe to call again. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#sleep.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      const ms = await this.#turn();
      if (ms > 0 && !this.#isStopped) await this.#sleep.sleep(ms);
    }
  }
}
