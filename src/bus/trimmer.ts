import type { Redis } from 'ioredis';
import { TOPOLOGY_PREFIX } from './channel.ts';
import { keys } from './keys.ts';
import { asList, script } from './script.ts';
import trimSource from './trim.lua' with { type: 'text' };
import unusedSource from './unused.lua' with { type: 'text' };

const trimScript = script(unusedSource, trimSource);

/** What one call of the script looks at: a millisecond or two of Redis. A single event may be larger. */
const PORTION = { entries: 60, bytes: 256 * 1024, fields: 200 } as const;
/** Between two calls, so that the others who use Redis are served in between, and most of its time stays theirs. */
const PAUSE_MS = 5;

/** What a walk did. */
export interface Trimmed {
  /** Entries that were trimmed, and channels that were forgotten. */
  readonly trimmed: number;
  readonly forgotten: number;
  /** False when the lock was lost, or the trimmer stopped, before the end. */
  readonly complete: boolean;
}

/**
 * Trims what is too old or too much, a little at a time. It renews the lock with each step, and without the lock it does
 * nothing: of two nodes that walk, one stops.
 */
export class Trimmer {
  readonly #redis: Redis;
  readonly #holder: string;
  readonly #options: { readonly lockMs: number; readonly maxBytes: number };
  #isStopped = false;

  /**
   * @param holder what the lock (`keys.housekeeping`) holds while it is this node's
   * @param options.lockMs for how long a step renews the lock, in milliseconds
   * @param options.maxBytes bytes of events that each channel keeps; 0: any number
   */
  constructor(redis: Redis, holder: string, options: { lockMs: number; maxBytes: number }) {
    this.#redis = redis;
    this.#holder = holder;
    this.#options = options;
  }

  /** Ends a walk at its next step, and all later ones. */
  stop(): void {
    this.#isStopped = true;
  }

  /**
   * Trims every channel, and forgets the channels of topologies that have nothing left and no reader.
   * @param tooOld events that happened before are trimmed, milliseconds since the epoch; without it none is for its age
   */
  walk(tooOld: number | undefined): Promise<Trimmed> {
    return this.#trim('0', [], tooOld);
  }

  /** The same for some channels. */
  trim(channels: readonly string[], tooOld: number | undefined): Promise<Trimmed> {
    return this.#trim('', channels, tooOld);
  }

  async #trim(scan: string, channels: readonly string[], tooOld: number | undefined): Promise<Trimmed> {
    const { lockMs, maxBytes } = this.#options;
    const seconds = tooOld === undefined ? '' : tooOld / 1000;
    let [trimmed, forgotten] = [0, 0];
    while (!this.#isStopped) {
      const [next, ...rest] = asList(
        await trimScript.run(
          this.#redis,
          [keys.meta, keys.housekeeping],
          [
            ...[this.#holder, lockMs, keys.stream(''), seconds, maxBytes],
            ...[PORTION.entries, PORTION.bytes, scan, PORTION.fields, TOPOLOGY_PREFIX, ...channels],
          ],
        ),
      );
      if (next === undefined) break;
      const [count, dropped, ...left] = rest;
      trimmed += Number(count);
      forgotten += Number(dropped);
      [scan, channels] = [String(next), left.map(String)];
      if (scan === '' && channels.length === 0) return { trimmed, forgotten, complete: true };
      await Bun.sleep(PAUSE_MS);
    }
    return { trimmed, forgotten, complete: false };
  }
}
