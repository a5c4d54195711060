import { type Cursor, formatCursor, parseCursor } from '../../src/bus/cursor.ts';
import type { Entry } from '../../src/bus/entry.ts';
import type { Archive } from './archive.ts';
import type { RawFrame } from './raw-client.ts';

/** What one client did and got: its sessions in order, each with the cursor that it sent. */
export interface History {
  readonly name: string;
  readonly channel: string;
  /** Whether the stream shows an event. */
  readonly shows: (topic: string) => boolean;
  readonly filtered: boolean;
  readonly sessions: readonly { readonly cursor: string; readonly frames: readonly RawFrame[] }[];
}

/**
 * Checks a client's whole life against the oracle: between resets every id in order, none missing, none twice, each with
 * the event that the log holds there; a reset only when history is gone.
 * @returns what is wrong, in words; empty when nothing is
 */
export function verify(history: History, archive: Archive): string[] {
  const problems: string[] = [];
  for (const [index, { cursor, frames }] of history.sessions.entries()) {
    const reader = new Reader(history, archive, parseCursor(cursor));
    for (const frame of frames) {
      const problem = reader.read(frame);
      if (problem === undefined) continue;
      problems.push(`${history.name}, session ${index} from '${cursor}': ${problem}`);
      break;
    }
  }
  return problems;
}

class Reader {
  readonly #history: History;
  readonly #archive: Archive;
  /** Where the chain stands; undefined before a position is known. */
  #at: Cursor | undefined;
  #wasReset: Cursor | 'no cursor' | undefined;

  constructor(history: History, archive: Archive, cursor: Cursor | undefined) {
    this.#history = history;
    this.#archive = archive;
    this.#at = cursor;
  }

  read(frame: RawFrame): string | undefined {
    const data: unknown = JSON.parse(frame.data);
    if (!isObject(data)) return `data is no object: ${frame.data}`;
    if (frame.event === 'reset') return this.#reset(String(data.reason));
    if (frame.id === undefined) {
      return this.#at === undefined ? undefined : `a ${frame.event} without id in the middle of the stream`;
    }
    const cursor = parseCursor(frame.id);
    if (cursor === undefined) return `'${frame.id}' is no cursor`;
    if (frame.event === 'snapshot' || frame.event === 'ready') return this.#start(frame.event, cursor);
    if (this.#at === undefined) return `${frame.event} before any position`;
    if (frame.event === 'resumed') return this.#resumed(cursor);
    return this.#follow(frame.event, cursor, data);
  }

  #reset(reason: string): string | undefined {
    const at = this.#at;
    this.#wasReset = at ?? 'no cursor';
    this.#at = undefined;
    if (at === undefined) return `reset (${reason}) without a cursor`;
    if (reason === 'trimmed') {
      const below = this.#archive.trimmedBelow(at.epoch, this.#history.channel);
      return below > at.offset + 1 ? undefined : `reset (trimmed) at ${formatCursor(at)}, but history is there`;
    }
    // That the epoch has changed shows in the position that follows.
    return reason === 'epoch' ? undefined : `reset for the reason ${reason}`;
  }

  #start(event: string, cursor: Cursor): string | undefined {
    if (this.#at !== undefined)
      return `${event} at ${formatCursor(cursor)} though ${formatCursor(this.#at)} was reached`;
    const before = this.#wasReset;
    this.#at = cursor;
    this.#wasReset = undefined;
    if (!this.#archive.epochs.has(cursor.epoch)) return `${event} of an epoch that never was: ${cursor.epoch}`;
    if (before === undefined || before === 'no cursor' || before.epoch !== cursor.epoch) return undefined;
    const below = this.#archive.trimmedBelow(before.epoch, this.#history.channel);
    return below > before.offset + 1
      ? undefined
      : `reset at ${formatCursor(before)} within an epoch, history being there`;
  }

  #resumed(cursor: Cursor): string | undefined {
    return this.#at !== undefined && formatCursor(this.#at) === formatCursor(cursor)
      ? undefined
      : `resumed at ${formatCursor(cursor)} instead of the cursor`;
  }

  #follow(event: string, cursor: Cursor, data: Record<string, unknown>): string | undefined {
    const at = this.#at;
    if (at === undefined || cursor.epoch !== at.epoch) return `${formatCursor(cursor)} is of another epoch`;
    const { prev, ...rest } = data;
    if (prev === undefined && (this.#history.filtered || cursor.offset !== at.offset + 1)) {
      return `${formatCursor(cursor)} follows ${formatCursor(at)}`;
    }
    if (prev !== undefined && prev !== formatCursor(at)) return `prev ${prev} instead of ${formatCursor(at)}`;
    const entries = this.#archive.entries(cursor.epoch, this.#history.channel);
    for (let offset = at.offset + 1; offset < cursor.offset; offset += 1) {
      if (!this.#mayBeLeftOut(entries.get(offset))) return `${cursor.epoch}.${offset} was left out`;
    }
    this.#at = cursor;
    const entry = entries.get(cursor.offset);
    if (entry === undefined) return `${formatCursor(cursor)} is not in the log`;
    if (event === 'position') return this.#mayBeLeftOut(entry) ? undefined : `${formatCursor(cursor)} was left out`;
    return Bun.deepEquals(rest, JSON.parse(entry.data)) ? undefined : `${formatCursor(cursor)} carries another event`;
  }

  /** Not shown by this stream, or contained in the snapshot: only events with database state have a revision. */
  #mayBeLeftOut(entry: Entry | undefined): boolean {
    return entry !== undefined && (!this.#history.shows(entry.topic) || entry.revision > 0);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
