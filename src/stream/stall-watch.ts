import { type Peer, unacknowledged } from './socket-progress.ts';

/** Something that waits for its client to take bytes. */
export interface Blockable {
  /** The other side of the socket; `undefined` where it is not known. */
  readonly peer: Peer | undefined;
  /** Drops it, and tells whoever owns it. */
  drop(): void;
}

interface Wait {
  /** When the client was last seen to take bytes, in milliseconds of `performance.now()`. */
  progressAt: number;
  /** What the kernel had still to get rid of when it was last asked. */
  unacknowledged: number | undefined;
}

const MOST_BETWEEN_LOOKS_MS = 1000;

/**
 * Drops clients that take no byte for too long, and only those: slow is not dead. That a socket drains is progress; so is, where
 * the kernel can be asked, that it has fewer bytes waiting. Drains alone would be too coarse: the kernel holds some
 * megabytes for a client and reports room only when a third of them has gone.
 *
 * It does nothing while nobody waits, and asks the kernel only about those who have waited for a quarter of the limit.
 */
export class StallWatch {
  readonly #stallMs: number;
  readonly #ask: typeof unacknowledged;
  readonly #waits = new Map<Blockable, Wait>();
  #timer: Timer | undefined;
  #looking = false;

  /**
   * @param stallMs milliseconds of taking nothing before a client is dropped. It may take half as long again until that is seen
   * @param ask how many bytes the kernel holds for sockets
   */
  constructor(stallMs: number, ask = unacknowledged) {
    this.#stallMs = stallMs;
    this.#ask = ask;
  }

  /** From now on it waits. */
  add(blocked: Blockable): void {
    this.#waits.set(blocked, { progressAt: performance.now(), unacknowledged: undefined });
    this.#timer ??= setInterval(() => void this.#look(), Math.min(MOST_BETWEEN_LOOKS_MS, this.#stallMs / 4));
  }

  /** It no longer waits. */
  delete(blocked: Blockable): void {
    this.#waits.delete(blocked);
    if (this.#waits.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#askKernel(performance.now() - this.#stallMs / 4);
      const limit = performance.now() - this.#stallMs;
      for (const [blocked, { progressAt }] of this.#waits) if (progressAt <= limit) blocked.drop();
    } finally {
      this.#looking = false;
    }
  }

  async #askKernel(before: number): Promise<void> {
    const peers: Peer[] = [];
    for (const [{ peer }, { progressAt }] of this.#waits) {
      if (peer !== undefined && progressAt <= before) peers.push(peer);
    }
    if (peers.length === 0) return;
    const held = await this.#ask(peers);
    for (const [{ peer }, wait] of this.#waits) {
      const bytes = peer && held.get(peer);
      if (bytes === undefined || bytes === wait.unacknowledged) continue;
      // Nothing is written while it waits: another number is one that the client's side has changed. The first one too:
      // what was taken before it is not known.
      wait.unacknowledged = bytes;
      wait.progressAt = performance.now();
    }
  }
}
