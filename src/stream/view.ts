import { formatCursor, type Place } from '../bus/cursor.ts';
import type { Entry } from '../bus/entry.ts';
import type { Framing } from './framing.ts';

/** What a kind of stream shows of a channel. */
export interface View {
  /** Same key, same events under the same names. */
  readonly key: string;
  readonly channel: string;
  /** Name of the frame for a topic; `undefined` for unnamed (`message`) frames. */
  eventName(topic: string): string | undefined;
  /** Whether an event of the channel is shown. The others are counted and not sent. */
  shows(topic: string): boolean;
  /** True when frames are expected to skip offsets: each then carries `prev`. */
  readonly filtered: boolean;
  /** Whether an event that {@link shows} lets through is shown; absent: all are. */
  picks?(entry: Entry): boolean;
  /** The data of an event's frame, JSON on one line, an object; absent: the event as it was published. */
  dataOf?(entry: Entry, epoch: string): string;
  /** Learns what {@link dataOf} has to know of an epoch. Called before frames of it are encoded; absent: nothing. */
  learn?(epoch: string): Promise<void>;
  /** Name of the frame that a stream begins with where it has a state; absent: `snapshot`. */
  readonly snapshotEvent?: string | undefined;
}

/** What decides the bytes that a connection gets: connections that look the same share them. */
export interface Look {
  readonly view: View;
  readonly framing: Framing;
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
  return !inSnapshot && view.shows(entry.topic) && (view.picks?.(entry) ?? true);
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
export function liveFrame(look: Look, epoch: string, entry: Entry, at: Place, sent: Place): string {
  const head = { id: formatCursor({ epoch, ...at }), event: look.view.eventName(entry.topic) };
  const isNext = isConsecutive(look.view, sent, entry.offset);
  const data = look.view.dataOf?.(entry, epoch) ?? entry.data;
  return look.framing.frame(head, isNext ? data : withPrevious(data, formatCursor({ epoch, ...sent })));
}

/**
 * Adds `prev` to the data of a live frame: the id that the connection's previous frame had reached, so that the client
 * can check the chain where ids are not consecutive.
 * @param data a JSON object on one line
 */
export function withPrevious(data: string, previous: string): string {
  const rest = data.slice(1);
  return `{"prev":${JSON.stringify(previous)}${rest.startsWith('}') ? '' : ','}${rest}`;
}

/** Encodes consecutive entries for one connection: what it is due, and where it stands afterwards. */
export function encodeEntries(
  look: Look,
  epoch: string,
  entries: readonly Entry[],
  from: ChainState,
): { readonly text: string; readonly state: ChainState } {
  let { at, sent } = from;
  let text = '';
  for (const entry of entries) {
    const isShown = isSent(look.view, entry, at.revision);
    at = placeAfter(at, entry);
    if (!isShown) continue;
    text += liveFrame(look, epoch, entry, at, sent);
    sent = at;
  }
  return { text, state: { at, sent } };
}
