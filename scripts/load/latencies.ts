const BUCKETS_PER_MS = 10;
const MOST_MS = 30_000;

/** Counts of latencies, 0.1 ms apart; anything beyond 30 s counts as 30 s. */
export class Latencies {
  readonly #buckets = new Uint32Array(MOST_MS * BUCKETS_PER_MS + 1);
  #count = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  /** The longest, in milliseconds. */
  get max(): number {
    return this.#max;
  }

  /** @param ms milliseconds; one below zero (clocks of two processes) counts as zero */
  add(ms: number): void {
    const bucket = Math.max(0, Math.min(MOST_MS * BUCKETS_PER_MS, Math.floor(ms * BUCKETS_PER_MS)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
    this.#count += 1;
    if (ms > this.#max) this.#max = ms;
  }

  /** @returns milliseconds that the share (0 to 1) of all latencies does not exceed; 0 when there are none */
  percentile(share: number): number {
    let remaining = Math.ceil(this.#count * share);
    if (remaining === 0) return 0;
    for (const [bucket, count] of this.#buckets.entries()) {
      remaining -= count;
      if (remaining <= 0) return (bucket + 1) / BUCKETS_PER_MS;
    }
    return this.#max;
  }
}
