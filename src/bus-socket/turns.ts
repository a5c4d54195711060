/** Something that has work to do, a little at a time. */
export interface Task {
  /**
   * Does a part of it, a millisecond at most.
   * @returns whether some is left
   */
  step(): boolean;
}

/** Milliseconds of work before everything else in the process has its turn. */
const TURN_MS = 4;

/** Gives every task its turn, so that however much comes over the socket, all of it together holds nothing up. */
export class Turns {
  readonly #queue = new Set<Task>();
  #isDue = false;

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
      if (task.step()) this.#queue.add(task);
      if (performance.now() >= end) break;
    }
    this.#wake();
  }
}
