/** A task that runs once at a time: started again while it runs, it goes on as it is. */
export class Exclusive {
  readonly #task: () => Promise<void>;
  #running: Promise<void> | undefined;

  constructor(task: () => Promise<void>) {
    this.#task = task;
  }

  get running(): Promise<void> | undefined {
    return this.#running;
  }

  run(): Promise<void> {
    this.#running ??= this.#task().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }
}
