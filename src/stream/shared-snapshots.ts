import { AppError } from '../errors.ts';
import { toBytes } from './framing.ts';
import type { Snapshot } from './snapshot.ts';

/** A snapshot whose bytes all its readers share. */
export interface EncodedSnapshot {
  readonly revision: number;
  /** The data as JSON on one line, UTF-8. */
  readonly data: Uint8Array;
  /** See {@link Snapshot.contains}. */
  readonly contains?: Snapshot['contains'];
}

/** How many different snapshots are read at once: fewer than the database pool has connections. */
const MAX_RUNNING = 8;
/** A read that has not ended so long after it was asked for fails, in milliseconds. */
const LIMIT_MS = 30_000;

/** A read that has not begun: whoever asks now may share it. */
interface Pending {
  readonly read: () => Promise<Snapshot>;
  readonly outcome: PromiseWithResolvers<EncodedSnapshot>;
  readonly timer: Timer;
}

/**
 * Reads each snapshot once for all that ask for it while it waits to be read. A read that has begun is shared with nobody
 * who comes later: what it sees may be older than that caller's position (invariant 5). So of each key one read is under
 * way and one waits, however many ask; and of all keys together only some are under way.
 */
export class SharedSnapshots {
  readonly #maxRunning: number;
  readonly #limitMs: number;
  /** In the order in which they were asked for first. */
  readonly #pending = new Map<string, Pending>();
  readonly #running = new Set<string>();
  #isScheduled = false;

  /**
   * @param options.maxRunning reads at once over all keys; default 8
   * @param options.limitMs milliseconds after which a read fails, its wait included; default 30 s
   */
  constructor({ maxRunning = MAX_RUNNING, limitMs = LIMIT_MS }: { maxRunning?: number; limitMs?: number } = {}) {
    this.#maxRunning = maxRunning;
    this.#limitMs = limitMs;
  }

  /**
   * @param key of what is read: same key, same snapshot
   * @param read begins after this call, unless that of another caller with the same key does
   * @returns the snapshot as it was at some time after this call
   * @throws what the read threw, to all who share it; {@link AppError} `unavailable` when it took too long
   */
  read(key: string, read: () => Promise<Snapshot>): Promise<EncodedSnapshot> {
    const waiting = this.#pending.get(key);
    if (waiting !== undefined) return waiting.outcome.promise;
    const outcome = Promise.withResolvers<EncodedSnapshot>();
    const timer = setTimeout(() => this.#giveUp(key, outcome), this.#limitMs);
    this.#pending.set(key, { read, outcome, timer });
    this.#schedule();
    return outcome.promise;
  }

  /** In a moment: many who have waited for the same thing ask one after the other. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#begin();
    });
  }

  #begin(): void {
    for (const [key, pending] of this.#pending) {
      if (this.#running.size >= this.#maxRunning) return;
      if (this.#running.has(key)) continue;
      this.#pending.delete(key);
      this.#running.add(key);
      void this.#run(key, pending); // Never rejects: its readers are told.
    }
  }

  async #run(key: string, { read, outcome, timer }: Pending): Promise<void> {
    Promise.try(read).then(encode).then(outcome.resolve, outcome.reject);
    // Not the read: one that hangs keeps its place no longer than anybody waits for it.
    await Promise.allSettled([outcome.promise]);
    clearTimeout(timer);
    this.#running.delete(key);
    this.#schedule();
  }

  #giveUp(key: string, outcome: Pending['outcome']): void {
    if (this.#pending.get(key)?.outcome === outcome) this.#pending.delete(key);
    outcome.reject(new AppError('unavailable', 'The state could not be read in time; try again shortly'));
  }
}

function encode({ revision, data, contains }: Snapshot): EncodedSnapshot {
  const encoded = { revision, data: toBytes(JSON.stringify(data)) };
  return contains === undefined ? encoded : { ...encoded, contains };
}
