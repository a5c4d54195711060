/** Lets work begin only while what is under way stays within so many bytes, first come, first served. */
export class ByteBudget {
  readonly #waiting: { readonly bytes: number; readonly go: () => void }[] = [];
  #free: number;
  readonly #all: number;

  /** @param bytes of all that is under way at once */
  constructor(bytes: number) {
    this.#all = bytes;
    this.#free = bytes;
  }

  /**
   * @param bytes that it is expected to take; more than the whole budget waits for the whole budget
   * @param work must end: others wait for it
   */
  async run<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    const taken = Math.min(bytes, this.#all);
    if (this.#waiting.length > 0 || taken > this.#free) {
      await new Promise<void>((go) => this.#waiting.push({ bytes: taken, go }));
    } else this.#free -= taken;
    try {
      return await work();
    } finally {
      this.#free += taken;
      this.#next();
    }
  }

  #next(): void {
    for (let [first] = this.#waiting; first !== undefined && first.bytes <= this.#free; [first] = this.#waiting) {
      this.#waiting.shift();
      this.#free -= first.bytes;
      first.go();
    }
  }
}
