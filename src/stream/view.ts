import { formatCursor, type Place } from '../bus/cursor.ts';
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
  /** The newest event that is counted: sent, not shown, or contained in the snapshot. */
  readonly at: Place;
  /** The place that the id of the newest frame names. */
  readonly sent: Place;
}

/** Whether an entry becomes a frame for a connection whose snapshot contains the events up to a revision. */
export function isSent(view: View, entry: Entry, revision: number): boolean {
  // Invariant 5: what the snapshot contains is not told again.
  const inSnapshot = entry.revision !== 0 && entry.revision <= revision;
  return !inSnapshot && view.shows(entry.topic);
}

/**
 * The place that an entry leads to. The revision of the snapshot goes on with it until an event has reached it: within a
 * channel revisions rise, so nothing after that one is contained.
 */
export function placeAfter({ revision: contained }: Place, { offset, proof, revision }: Entry): Place {
  return { offset, proof, revision: revision >= contained ? 0 : contained };
}

/** True when a client can tell from the numbers alone that nothing is between the two: the frame needs no `prev`. */
export function isConsecutive(view: View, sent: Place, offset: number): boolean {
  return !view.filtered && sent.offset === offset - 1;
}

/**
 * One live frame.
 * @param at the place that its event leads to
 * @param sent the place that the connection's previous frame named
 */
export function liveFrame(view: View, epoch: string, entry: Entry, at: Place, sent: Place): string {
  return encodeFrame({
    id: formatCursor({ epoch, ...at }),
    event: view.eventName(entry.topic),
    data: isConsecutive(view, sent, entry.offset)
      ? entry.data
      : withPrevious(entry.data, formatCursor({ epoch, ...sent })),
  });
}

/** Encodes consecutive entries for one connection: what it is due, and where it stands afterwards. */
export function encodeEntries(
  view: View,
  epoch: string,
  entries: readonly Entry[],
  from: ChainState,
): { readonly text: string; readonly state: ChainState } {
  let { at, sent } = from;
  let text = '';
  for (const entry of entries) {
    const isShown = isSent(view, entry, at.revision);
    at = placeAfter(at, entry);
    if (!isShown) continue;
    text += liveFrame(view, epoch, entry, at, sent);
    sent = at;
  }
  return { text, state: { at, sent } };
}
