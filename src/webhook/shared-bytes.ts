/** Counts the bytes that several hold in memory at once. Nobody waits here: who finds no room decides what to do. */
export class SharedBytes {
  #free: number;

  constructor(bytes: number) {
    this.#free = bytes;
  }

  hasRoomFor(bytes: number): boolean {
    return bytes <= this.#free;
  }

  /** Also without room: see {@link hasRoomFor}. */
  take(bytes: number): void {
    this.#free -= bytes;
  }

  giveBack(bytes: number): void {
    this.#free += bytes;
  }
}
