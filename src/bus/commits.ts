/**
 * Tells parts of this process that something was committed which may be work for them: nothing waits for the next poll, or
 * for Redis to tell of it.
 */
export class Commits {
  readonly #wakes: (() => void)[] = [];

  /** @param wake called after each commit; it does no work itself */
  wakes(wake: () => void): void {
    this.#wakes.push(wake);
  }

  /** To be called after each commit that wrote to the outbox. */
  readonly onCommitted = (): void => {
    for (const wake of this.#wakes) wake();
  };
}
