import { type Cursor, formatCursor, parseCursor } from '../../bus/cursor.ts';
import type { Frame } from './frame.ts';

/**
 * What a frame does to the chain: `opened` starts or continues it after a connection was made, `next` is the event that
 * had to come, `moved` only changes the position, `duplicate` was here before, `gap` leaves something out.
 */
export type Verdict = 'opened' | 'next' | 'moved' | 'duplicate' | 'gap';

/** What a chain has seen since it began. */
export interface Counters {
  /** Events that arrived, also those found to be duplicates. */
  readonly events: number;
  readonly duplicates: number;
  readonly gaps: number;
  readonly resumes: number;
  readonly resets: number;
}

/**
 * Proves, frame by frame, that a stream leaves nothing out and repeats nothing. Offsets of an epoch have no holes (design,
 * invariant 2), so the next event is the last offset plus one, or, on a filtered stream, the one whose `prev` is where
 * the chain stands. Only a `reset` may break the chain (invariant 4).
 */
export class Contiguity {
  #last: Cursor | undefined;
  /** Since the stream was refused a slot, and until it gets in again: its position says so. */
  #isRefused = false;
  #resetting = false;
  #counters: Counters = { events: 0, duplicates: 0, gaps: 0, resumes: 0, resets: 0 };

  get counters(): Counters {
    return this.#counters;
  }

  /**
   * The id up to which everything has arrived; `undefined` before the first frame. While the stream is refused, it
   * carries the mark with which a client waits for a free slot instead of taking one from another stream.
   */
  get position(): string | undefined {
    return this.#last && formatCursor({ ...this.#last, evicted: this.#isRefused });
  }

  /** Takes the next frame of the stream, over all of its connections. */
  accept(frame: Pick<Frame, 'control' | 'id' | 'prev'>): Verdict {
    if (frame.control === undefined) this.#count('events');
    if (frame.control === 'resumed') this.#count('resumes');
    if (frame.control === 'reset') this.#count('resets');
    const verdict = this.#judge(frame, parseCursor(frame.id));
    if (verdict === 'duplicate') this.#count('duplicates');
    if (verdict === 'gap') this.#count('gaps');
    return verdict;
  }

  /** The stream has no slot: from now on it waits for one. */
  refused(): void {
    this.#isRefused = true;
  }

  #judge({ control, prev }: Pick<Frame, 'control' | 'prev'>, cursor: Cursor | undefined): Verdict {
    switch (control) {
      case 'reset':
        this.#resetting = true;
        if (cursor !== undefined) this.#last = cursor;
        return 'opened';
      case 'snapshot':
      case 'ready':
      case 'resumed':
        return this.#open(cursor);
      case 'evicted':
        // It claims no place: the chain goes on where it stands, wherever the server thinks that is.
        this.refused();
        return 'moved';
      case 'position':
        return this.#move(cursor, prev);
      case undefined:
        return this.#follow(cursor, prev);
    }
  }

  /** A connection was made. Unless a reset was announced, it has to go on exactly where the chain stands. */
  #open(cursor: Cursor | undefined): Verdict {
    const last = this.#last;
    this.#isRefused = false;
    // A server that cannot reach its log sends a snapshot without a place in it. That claims nothing; the next opening
    // frame is held to where the chain stands.
    if (cursor === undefined) return 'opened';
    const mayStart = last === undefined || this.#resetting;
    this.#resetting = false;
    // Behind the chain is no loss: what is sent again will be counted as duplicates, one by one.
    if (!mayStart && cursor.epoch === last.epoch && cursor.offset <= last.offset) return 'opened';
    this.#last = cursor;
    return mayStart ? 'opened' : 'gap';
  }

  #move(cursor: Cursor | undefined, prev: string | undefined): Verdict {
    const last = this.#last;
    if (cursor === undefined) return 'moved';
    if (last !== undefined && cursor.epoch === last.epoch && cursor.offset <= last.offset) return 'moved';
    this.#last = cursor;
    if (last === undefined) return 'moved';
    return cursor.epoch === last.epoch && (prev === undefined || prev === formatCursor(last)) ? 'moved' : 'gap';
  }

  #follow(cursor: Cursor | undefined, prev: string | undefined): Verdict {
    const last = this.#last;
    // Without a number nobody can tell what came before it; the position stays where it is.
    if (cursor === undefined) return 'gap';
    if (last !== undefined && cursor.epoch === last.epoch && cursor.offset <= last.offset) return 'duplicate';
    this.#last = cursor;
    // Position first (invariant 5): an event before any opening frame proves nothing about what came before it.
    if (last === undefined || cursor.epoch !== last.epoch) return 'gap';
    const follows = prev === undefined ? cursor.offset === last.offset + 1 : prev === formatCursor(last);
    return follows ? 'next' : 'gap';
  }

  #count(what: keyof Counters): void {
    this.#counters = { ...this.#counters, [what]: this.#counters[what] + 1 };
  }
}
