export interface QueueLimits {
  readonly items: number;
  readonly bytes: number;
}

interface Sized<Item> {
  readonly item: Item;
  readonly bytes: number;
}

/** First in, first out. What does not fit pushes the oldest out. */
export class BoundedQueue<Item> {
  readonly #limits: QueueLimits;
  #items: Sized<Item>[] = [];
  #head = 0;
  #bytes = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @param bytes what the item counts; one that is larger than the limit is alone in the queue
   * @returns how many were pushed out
   */
  push(item: Item, bytes: number): number {
    this.#items.push({ item, bytes });
    this.#bytes += bytes;
    let dropped = 0;
    while (this.length > 1 && (this.length > this.#limits.items || this.#bytes > this.#limits.bytes)) {
      this.shift();
      dropped += 1;
    }
    return dropped;
  }

  peek(): Item | undefined {
    return this.#items[this.#head]?.item;
  }

  shift(): Item | undefined {
    const first = this.#items[this.#head];
    if (first === undefined) return undefined;
    this.#head += 1;
    this.#bytes -= first.bytes;
    // What was taken goes once it is the half: each item is moved once or twice at most.
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return first.item;
  }
}
