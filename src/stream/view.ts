import { type Cursor, formatCursor } from '../bus/cursor.ts';
import type { Entry } from '../bus/entry.ts';
import { encodeFrame, withPrevious } from './encoder.ts';

/** What a kind of stream shows of a channel. Connections with the same view share their encoded frames. */
export interface View {
  /** Same key, same frames. */
  readonly key: string;
  readonly channel: string;
  /** Name of the frame for a topic; `undefined` for unnamed (`message`) frames. */
  eventName(topic: string): string | undefined;
  /** Whether an event of the channel is shown. The others are counted and not sent. */
  shows(topic: string): boolean;
  /** True when frames are expected to skip offsets: each then carries `prev`. */
  readonly filtered: boolean;
}

/** A place in the chain of a connection's frames. */
export interface ChainState {
  /** The newest event that is counted: sent, or not shown. */
  readonly offset: number;
  /** The newest offset that a frame's id has carried. */
  readonly sent: number;
  /** Events up to this database revision are in the client's snapshot; 0: none are. */
  readonly revision: number;
}

/** Whether an entry becomes a frame for a connection. */
export function isSent(view: View, entry: Entry, revision: number): boolean {
  // Invariant 5: what the snapshot contains is not told again.
  const inSnapshot = entry.revision !== 0 && entry.revision <= revision;
  return !inSnapshot && view.shows(entry.topic);
}

/**
 * One live frame.
 * @param sent offset of the connection's previous frame
 */
export function liveFrame(view: View, epoch: string, entry: Entry, sent: number): string {
  const cursor: Cursor = { epoch, offset: entry.offset };
  const isChained = !view.filtered && sent === entry.offset - 1;
  return encodeFrame({
    id: formatCursor(cursor),
    event: view.eventName(entry.topic),
    data: isChained ? entry.data : withPrevious(entry.data, formatCursor({ epoch, offset: sent })),
  });
}

/** Encodes consecutive entries for one connection: what it is due, and where it stands afterwards. */
export function encodeEntries(
  view: View,
  epoch: string,
  entries: readonly Entry[],
  from: ChainState,
): { readonly text: string; readonly state: ChainState } {
  let { offset, sent } = from;
  let text = '';
  for (const entry of entries) {
    offset = entry.offset;
    if (!isSent(view, entry, from.revision)) continue;
    text += liveFrame(view, epoch, entry, sent);
    sent = entry.offset;
  }
  return { text, state: { offset, sent, revision: from.revision } };
}
