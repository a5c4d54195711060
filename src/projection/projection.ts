import type { LogEntry } from '../bus/entry.ts';
import type { JsonObject } from '../bus/event.ts';
import { eventOf } from '../bus/logged-event.ts';
import type { Db, Trx } from '../db/database.ts';
import type { KeptRows } from './retention.ts';

/** An event of the log as a projection sees it. Whoever published it may have put anything into its payload. */
export interface LoggedEvent {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  /** Seconds since the epoch. */
  readonly ts: number;
  readonly payload: JsonObject;
  /** The epoch in which it was published. */
  readonly epoch: string;
  /** Its offset in a channel; `undefined` when it is not in it. */
  offsetIn(channel: string): number | undefined;
}

/**
 * Rows that follow from the log alone. Each event is counted once: its rows and the place in the log are committed in one
 * transaction.
 */
export interface Projection {
  readonly name: string;
  /** Another number, other rows: what an older one has made has to be rebuilt. */
  readonly version: number;
  /** Patterns of the events that it is made of. */
  readonly topics: readonly string[];
  /** Channels whose streams open with its rows. */
  readonly channels: readonly string[];
  /** Its rows go with a purge (`purge.ts`); default false: they stay. */
  readonly isPurged?: boolean;
  /** Rows that grow with the log, of which the newest are kept; default none. */
  readonly kept?: readonly KeptRows[];
  /**
   * Removes some of what rows that went have left behind, because it was too much for the transaction.
   * @param most about so many
   * @returns whether there may be more
   */
  readonly removeLeft?: (trx: Trx, most: number) => Promise<boolean>;
  /** Whether there is anything to remove in that way. */
  readonly hasLeft?: (db: Db) => Promise<boolean>;
  /**
   * Turns events into rows, in their order. What cannot be used of an event is left out; what it throws is taken for the
   * fault of one of the events, which is looked for and set aside.
   * @returns how many of the events held nothing that can be used
   */
  apply(trx: Trx, events: readonly LoggedEvent[]): Promise<number>;
  /**
   * Looks again at events that were counted before: they stand in another place of the log now, or in the same. Absent: rows
   * do not say where an event stands.
   */
  again?(trx: Trx, events: readonly LoggedEvent[]): Promise<void>;
  /**
   * Removes some of its rows.
   * @param most about so many
   * @returns whether there may be more
   */
  clear(trx: Trx, most: number): Promise<boolean>;
}

/**
 * Applies events one after the other.
 * @param apply answers false when the event held nothing that can be used
 * @returns how many of them did
 */
export async function applyEach(
  events: readonly LoggedEvent[],
  apply: (event: LoggedEvent) => Promise<boolean>,
): Promise<number> {
  let skipped = 0;
  for (const event of events) {
    if (!(await apply(event))) skipped += 1;
  }
  return skipped;
}

/** Reads an entry's event; `undefined` when it is none: somebody else wrote into the stream. */
export function loggedEvent(entry: LogEntry): LoggedEvent | undefined {
  try {
    // Decoded once for all projections and streams that look at the entry.
    const { id, topic, type, ts, payload } = eventOf(entry);
    const offsetIn = (channel: string) => entry.places.find((place) => place.channel === channel)?.offset;
    return { id, topic, type, ts: Number.isFinite(ts) ? ts : 0, payload, epoch: entry.epoch, offsetIn };
  } catch {
    return undefined;
  }
}
