/** A sleep that can be cut short. A wake that comes while nobody sleeps is kept for the next sleep. */
export class WakeableSleep {
  #pending = false;
  #wake: (() => void) | undefined;

  /** Ends the sleep under way, or the next one. */
  wake(): void {
    this.#pending = true;
    this.#wake?.();
  }

  /** @param ms milliseconds at most */
  async sleep(ms: number): Promise<void> {
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#wake = undefined;
    this.#pending = false;
  }
}
