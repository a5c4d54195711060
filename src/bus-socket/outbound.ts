import type { Log } from '../telemetry/log.ts';
import { BoundedQueue, type QueueLimits } from './bounded-queue.ts';
import type { BusSocketStats } from './stats.ts';

/** As in DECNET (contract §2.3), and the bytes that it has no limit for. */
export const OUTBOUND_LIMITS: QueueLimits = { items: 1024, bytes: 8 * 1024 * 1024 };
/** Small frames travel together: a write costs a system call. */
const WRITE_BYTES = 64 * 1024;

/** What takes bytes, and says how many it took; none when it is full or closed. */
export interface ByteSink {
  write(bytes: Uint8Array): number;
}

/**
 * Frames on their way to one connection, in order. A connection that does not keep up misses the oldest of those that it has
 * not begun to get.
 */
export class Outbound {
  readonly #sink: ByteSink;
  readonly #stats: BusSocketStats;
  readonly #log: (level: 'warn' | 'info', message: string, dropped: number) => void;
  readonly #queue: BoundedQueue<Uint8Array>;
  /** Begun: it has to be finished, whatever is dropped. */
  #writing: Uint8Array | undefined;
  /** Dropped since it last had everything. */
  #dropped = 0;

  constructor(
    sink: ByteSink,
    stats: BusSocketStats,
    log: (level: keyof Pick<Log, 'warn' | 'info'>, message: string, dropped: number) => void,
    limits: QueueLimits = OUTBOUND_LIMITS,
  ) {
    this.#sink = sink;
    this.#stats = stats;
    this.#log = log;
    this.#queue = new BoundedQueue(limits);
  }

  /** True when everything was written. */
  get isEmpty(): boolean {
    return this.#writing === undefined && this.#queue.length === 0;
  }

  /** Takes a frame; {@link flush} writes it. */
  push(frame: Uint8Array): void {
    const dropped = this.#queue.push(frame, frame.length);
    if (dropped === 0) return;
    if (this.#dropped === 0)
      this.#log('warn', 'a peer of the bus socket is too slow: it misses the oldest events', dropped);
    this.#dropped += dropped;
    this.#stats.dropped += dropped;
  }

  /** Writes what the other side takes; to be called again when it takes more. */
  flush(): void {
    for (let bytes = this.#writing ?? this.#gather(); bytes !== undefined; bytes = this.#gather()) {
      const taken = Math.max(0, this.#sink.write(bytes));
      this.#writing = taken < bytes.length ? bytes.subarray(taken) : undefined;
      if (this.#writing !== undefined) return;
    }
    if (this.#dropped > 0) this.#log('info', 'a peer of the bus socket has caught up', this.#dropped);
    this.#dropped = 0;
  }

  #gather(): Uint8Array | undefined {
    const frames: Uint8Array[] = [];
    let bytes = 0;
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      if (bytes > 0 && bytes + next.length > WRITE_BYTES) break;
      this.#queue.shift();
      frames.push(next);
      bytes += next.length;
    }
    this.#stats.delivered += frames.length;
    return frames.length > 1 ? Buffer.concat(frames, bytes) : frames[0];
  }
}
