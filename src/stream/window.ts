import { NO_PROOF, type Place } from '../bus/cursor.ts';
import type { Batch, Entry } from '../bus/entry.ts';
import { toBytes } from './encoder.ts';
import type { OffsetRange } from './recovery.ts';
import { type ChainState, encodeEntries, isConsecutive, isSent, liveFrame, type View } from './view.ts';

/** Consecutive events, encoded once for everyone who sees them through the same view. */
interface Segment extends OffsetRange {
  /** Proof of the place before the first event. */
  readonly before: string;
  /** The place that the last event leads to. */
  readonly end: Place;
  /** Proofs of all its events, back to back: a reader may stand at any, also at one that is not shown. */
  readonly proofs: string;
  /** Only those that are shown, and their frames, back to back. */
  readonly entries: readonly Entry[];
  readonly bytes: Uint8Array;
  /** For each frame: the place that its id names, and where it ends in `bytes`. */
  readonly places: readonly Place[];
  readonly ends: readonly number[];
  /** What the first frame's chain continues: the place of the frame before it. */
  readonly sentBefore: Place;
  /** What it costs in memory, in bytes. */
  readonly cost: number;
}

/** What a connection is to be written next. */
export interface Due {
  /** Pieces to write one behind the other; none when all events in between are not shown. */
  readonly chunks: readonly Uint8Array[];
  /** Where the connection stands once they are written. */
  readonly state: ChainState;
}

const PROOF_LENGTH = 8;
/** Places for which something is kept ready; each costs what is handed over at once. */
const MOST_READY = 8;
/** What a segment costs beside its frames and its proofs, and an event that is shown beside its frame; about. */
const SEGMENT_COST = 512;
const ENTRY_COST = 256;

/**
 * The newest events of a channel as one view shows them: encoded, contiguous, bounded in bytes. Live delivery is its
 * last segment; a client that was away or slow for a moment is served from the older ones without asking Redis.
 */
export class Window {
  readonly view: View;
  readonly #maxBytes: number;
  #segments: Segment[] = [];
  #bytes = 0;
  /**
   * What was put together for a connection at a place, until the window changes. Those that have been served from here stand at
   * the same places, the same objects even: of a crowd that is late the first one has it put together, as one piece.
   */
  readonly #ready = new Map<Place, { readonly sent: Place; readonly maxBytes: number; readonly due: Due }>();
  #epoch = '';
  /** The chain that the shared frames continue: a connection at another place gets its first frame by hand. */
  #sent: Place = { offset: 0, proof: NO_PROOF, revision: 0 };

  /** @param maxBytes memory to spend; the newest segment is kept whatever its size */
  constructor(view: View, maxBytes: number) {
    this.view = view;
    this.#maxBytes = maxBytes;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** The offsets that it holds. */
  get range(): OffsetRange | undefined {
    const [oldest, newest] = [this.#segments[0], this.#segments.at(-1)];
    return oldest === undefined || newest === undefined ? undefined : { first: oldest.first, last: newest.last };
  }

  /** What its memory costs, in bytes. */
  get cost(): number {
    return this.#bytes;
  }

  /** The proof of an offset, from just before the first event it holds to the last; `undefined` elsewhere. */
  proofOf(offset: number): string | undefined {
    const newest = this.#segments.at(-1);
    // Where nearly everybody stands, nearly always.
    if (newest !== undefined && offset === newest.first - 1) return newest.before;
    if (newest !== undefined && offset === newest.last) return newest.end.proof;
    const [oldest] = this.#segments;
    if (oldest !== undefined && offset === oldest.first - 1) return oldest.before;
    const segment = this.#segments[this.#indexAfter(offset - 1)];
    if (segment === undefined || offset < segment.first) return undefined;
    const start = (offset - segment.first) * PROOF_LENGTH;
    return segment.proofs.slice(start, start + PROOF_LENGTH);
  }

  /**
   * Adds a batch. One that does not continue what is here replaces it.
   * @returns false when it replaced something: readers of what was here have to ask where they stand
   */
  append(batch: Batch): boolean {
    const newest = this.#segments.at(-1);
    const continues =
      batch.epoch === this.#epoch &&
      batch.first === (newest?.last ?? -1) + 1 &&
      batch.entries[0]?.before === newest?.end.proof;
    if (!continues) this.clear();
    this.#ready.clear();
    const segment = this.#encode(batch);
    this.#epoch = batch.epoch;
    this.#segments.push(segment);
    this.#bytes += segment.cost;
    while (this.#segments.length > 1 && this.#bytes > this.#maxBytes) this.#bytes -= this.#segments.shift()?.cost ?? 0;
    return continues || newest === undefined;
  }

  clear(): void {
    this.#segments = [];
    this.#bytes = 0;
    this.#ready.clear();
  }

  /**
   * What is due to a connection that the window covers, up to about `maxBytes`: whole frames, at least one.
   * @param maxBytes how much to hand over at once, so that a client which takes nothing costs no more than that
   */
  due(state: ChainState, maxBytes: number): Due {
    const ready = this.#ready.get(state.at);
    if (ready !== undefined && ready.sent === state.sent && ready.maxBytes === maxBytes) return ready.due;
    const { chunks, state: after } = this.#collect(state, maxBytes);
    // One with a frame that is larger than the rest of it stays in pieces: everyone shares that frame.
    const isSmall = chunks.reduce((sum, chunk) => sum + chunk.length, 0) <= maxBytes;
    const due = { chunks: isSmall && chunks.length > 1 ? [Buffer.concat(chunks)] : chunks, state: after };
    if (this.#ready.size === MOST_READY) this.#ready.clear();
    this.#ready.set(state.at, { sent: state.sent, maxBytes, due });
    return due;
  }

  #collect(state: ChainState, maxBytes: number): Due {
    const chunks: Uint8Array[] = [];
    let now = state;
    let bytes = 0;
    for (let index = this.#indexAfter(state.at.offset); index < this.#segments.length && bytes < maxBytes; index += 1) {
      const segment = this.#segments[index];
      if (segment === undefined) break;
      const part = this.#fromSegment(segment, now, maxBytes - bytes);
      chunks.push(...part.chunks);
      bytes += part.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      now = part.state;
      if (now.at.offset < segment.last) break;
    }
    return { chunks, state: now };
  }

  #encode(batch: Batch): Segment {
    const [head, tip] = [batch.entries[0], batch.entries.at(-1)];
    const before = head?.before ?? NO_PROOF;
    if (this.#segments.length === 0) this.#sent = { offset: batch.first - 1, proof: before, revision: 0 };
    const sentBefore = this.#sent;
    const [parts, places, ends]: [string[], Place[], number[]] = [[], [], []];
    let end = 0;
    const entries = batch.entries.filter((entry) => isSent(this.view, entry, 0));
    for (const entry of entries) {
      const place: Place = { offset: entry.offset, proof: entry.proof, revision: 0 };
      const text = liveFrame(this.view, batch.epoch, entry, place, this.#sent);
      parts.push(text);
      end += Buffer.byteLength(text);
      places.push(place);
      ends.push(end);
      this.#sent = place;
    }
    const proofs = batch.entries.map(({ proof }) => proof).join('');
    const data = entries.reduce((sum, entry) => sum + entry.data.length, 0);
    return {
      first: batch.first,
      last: batch.last,
      before,
      end: places.at(-1)?.offset === batch.last ? this.#sent : placeOf(batch.last, tip),
      proofs,
      entries,
      bytes: toBytes(parts.join('')),
      places,
      ends,
      sentBefore,
      cost: SEGMENT_COST + proofs.length + end + data + entries.length * ENTRY_COST,
    };
  }

  /** Index of the first segment that holds an event after the offset. */
  #indexAfter(offset: number): number {
    let [low, high] = [0, this.#segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#segments[middle]?.last ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #fromSegment(segment: Segment, state: ChainState, maxBytes: number): Due {
    // Its snapshot may contain some of it, and its ids say so.
    if (state.at.revision !== 0) return this.#byHand(segment, state, maxBytes);
    const start = segment.places.findIndex(({ offset }) => offset > state.at.offset);
    const own = segment.entries[start];
    if (own === undefined) return { chunks: [], state: { at: segment.end, sent: state.sent } };
    const shared = start === 0 ? segment.sentBefore : (segment.places[start - 1] ?? segment.sentBefore);
    if (this.#isSameChain(shared, state.sent, own.offset)) return sharedFrames(segment, start, state.sent, maxBytes);
    // Its chain is at another place than the shared frames': the first frame is its own, the rest is everyone's.
    const at: Place = { offset: own.offset, proof: own.proof, revision: 0 };
    const frame = toBytes(liveFrame(this.view, this.#epoch, own, at, state.sent));
    const isLast = start + 1 === segment.places.length;
    if (isLast || frame.length >= maxBytes) {
      return { chunks: [frame], state: { at: isLast ? segment.end : at, sent: at } };
    }
    const rest = sharedFrames(segment, start + 1, at, maxBytes - frame.length);
    return { chunks: [frame, ...rest.chunks], state: rest.state };
  }

  /** Whether a frame says the same to a connection whose previous frame named another place than the shared one did. */
  #isSameChain(shared: Place, own: Place, offset: number): boolean {
    if (shared.offset !== own.offset) return false;
    if (isConsecutive(this.view, own, offset)) return true;
    return shared.proof === own.proof && shared.revision === own.revision;
  }

  #byHand(segment: Segment, state: ChainState, maxBytes: number): Due {
    let [text, bytes, now] = ['', 0, state];
    const due = () => (text === '' ? [] : [toBytes(text)]);
    for (const entry of segment.entries) {
      if (entry.offset <= state.at.offset) continue;
      const frame = encodeEntries(this.view, this.#epoch, [entry], now);
      const size = Buffer.byteLength(frame.text);
      if (bytes > 0 && bytes + size > maxBytes) return { chunks: due(), state: now };
      text += frame.text;
      bytes += size;
      now = frame.state;
    }
    return { chunks: due(), state: { at: { ...segment.end, revision: now.at.revision }, sent: now.sent } };
  }
}

function placeOf(offset: number, entry: Entry | undefined): Place {
  return { offset, proof: entry?.proof ?? NO_PROOF, revision: 0 };
}

/** The shared frames from `start` on: all of them, or as many as fit, but at least one. */
function sharedFrames(segment: Segment, start: number, sentBefore: Place, maxBytes: number): Due {
  const begin = start === 0 ? 0 : (segment.ends[start - 1] ?? 0);
  let next = segment.places.length;
  if (segment.bytes.length - begin > maxBytes) {
    next = segment.ends.findIndex((end, index) => index >= start && end - begin > maxBytes);
    if (next <= start) next = start + 1;
  }
  const end = segment.ends[next - 1] ?? segment.bytes.length;
  const sent = segment.places[next - 1] ?? sentBefore;
  return {
    chunks: [begin === 0 && end === segment.bytes.length ? segment.bytes : segment.bytes.subarray(begin, end)],
    state: { at: next === segment.places.length ? segment.end : sent, sent },
  };
}
