import type { Batch, Entry } from '../bus/entry.ts';
import { toBytes } from './encoder.ts';
import type { Range } from './recovery.ts';
import { type ChainState, encodeEntries, isSent, liveFrame, type View } from './view.ts';

/** Consecutive events, encoded once for everyone who sees them through the same view. */
interface Segment extends Range {
  /** Only those that are shown: what a view hides must not be kept for it. */
  readonly entries: readonly Entry[];
  /** Their frames, back to back. */
  readonly bytes: Uint8Array;
  /** For each frame: the offset of its event. */
  readonly offsets: readonly number[];
  /** For each frame: where it ends in `bytes`. */
  readonly ends: readonly number[];
  /** What the first frame's chain continues: the offset of the frame before it. */
  readonly sentBefore: number;
  /** A connection whose snapshot contains this revision may have to leave out frames: it is served by hand. */
  readonly lowestRevision: number;
}

/** What a connection is to be written next. */
export interface Due {
  /** Pieces to write one behind the other; none when all events in between are not shown. */
  readonly chunks: readonly Uint8Array[];
  /** Where the connection stands once they are written. */
  readonly state: ChainState;
}

/**
 * The newest events of a channel as one view shows them: encoded, contiguous, bounded in bytes. Live delivery is its
 * last segment; a client that was away or slow for a moment is served from the older ones without asking Redis.
 */
export class Window {
  readonly view: View;
  readonly #maxBytes: number;
  #segments: Segment[] = [];
  #bytes = 0;
  #epoch = '';
  /** The chain that the shared frames continue: a connection at another place gets its first frame by hand. */
  #sent = 0;

  /** @param maxBytes encoded bytes to keep; the newest segment is kept whatever its size */
  constructor(view: View, maxBytes: number) {
    this.view = view;
    this.#maxBytes = maxBytes;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** The offsets that it holds. */
  get range(): Range | undefined {
    const [oldest, newest] = [this.#segments[0], this.#segments.at(-1)];
    return oldest === undefined || newest === undefined ? undefined : { first: oldest.first, last: newest.last };
  }

  /** Adds a batch. One that does not continue what is here replaces it. */
  append(batch: Batch): void {
    const continues = batch.epoch === this.#epoch && batch.first === (this.range?.last ?? -1) + 1;
    if (!continues) this.clear();
    if (this.#segments.length === 0) this.#sent = batch.first - 1;
    this.#epoch = batch.epoch;
    const segment = this.#encode(batch);
    const newest = this.#segments.at(-1);
    // A batch of which nothing is shown only moves the end on. As a segment of its own, with no bytes to count, it would
    // never be dropped: a pattern that hits rarely on a busy channel would fill the memory.
    if (newest !== undefined && segment.bytes.length === 0)
      this.#segments.splice(-1, 1, { ...newest, last: batch.last });
    else this.#segments.push(segment);
    this.#bytes += segment.bytes.length;
    while (this.#segments.length > 1 && this.#bytes > this.#maxBytes) {
      this.#bytes -= this.#segments.shift()?.bytes.length ?? 0;
    }
  }

  clear(): void {
    this.#segments = [];
    this.#bytes = 0;
  }

  /**
   * What is due to a connection that the window covers, up to about `maxBytes`: whole frames, at least one.
   * @param maxBytes how much to hand over at once, so that a client which takes nothing costs no more than that
   */
  due(state: ChainState, maxBytes: number): Due {
    const chunks: Uint8Array[] = [];
    let now = state;
    let bytes = 0;
    for (let index = this.#indexAfter(state.offset); index < this.#segments.length && bytes < maxBytes; index += 1) {
      const segment = this.#segments[index];
      if (segment === undefined) break;
      const part = this.#fromSegment(segment, now, maxBytes - bytes);
      chunks.push(...part.chunks);
      bytes += part.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      now = part.state;
      if (now.offset < segment.last) break;
    }
    return { chunks, state: now };
  }

  #encode(batch: Batch): Segment {
    const parts: string[] = [];
    const sentBefore = this.#sent;
    const [offsets, ends]: [number[], number[]] = [[], []];
    let [end, lowestRevision] = [0, Number.POSITIVE_INFINITY];
    const entries = batch.entries.filter((entry) => isSent(this.view, entry, 0));
    for (const entry of entries) {
      if (entry.revision !== 0) lowestRevision = Math.min(lowestRevision, entry.revision);
      const text = liveFrame(this.view, batch.epoch, entry, this.#sent);
      parts.push(text);
      end += Buffer.byteLength(text);
      offsets.push(entry.offset);
      ends.push(end);
      this.#sent = entry.offset;
    }
    const { first, last } = batch;
    return { first, last, entries, bytes: toBytes(parts.join('')), offsets, ends, sentBefore, lowestRevision };
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
    if (state.revision >= segment.lowestRevision) return this.#byHand(segment, state, maxBytes);
    const start = segment.offsets.findIndex((offset) => offset > state.offset);
    if (start === -1) return { chunks: [], state: { ...state, offset: segment.last } };
    if (sharedBefore(segment, start) === state.sent) return shared(segment, start, state, maxBytes);
    // Its chain is at another place than the shared frames': the first frame is its own, the rest is everyone's.
    const own = segment.entries[start];
    if (own === undefined) return this.#byHand(segment, state, maxBytes);
    const frame = toBytes(liveFrame(this.view, this.#epoch, own, state.sent));
    const isLast = start + 1 === segment.offsets.length;
    const after = { ...state, offset: isLast ? segment.last : own.offset, sent: own.offset };
    if (isLast || frame.length >= maxBytes) return { chunks: [frame], state: after };
    const rest = shared(segment, start + 1, after, maxBytes - frame.length);
    return { chunks: [frame, ...rest.chunks], state: rest.state };
  }

  #byHand(segment: Segment, state: ChainState, maxBytes: number): Due {
    let [text, bytes, now] = ['', 0, state];
    const due = () => (text === '' ? [] : [toBytes(text)]);
    for (const entry of segment.entries) {
      if (entry.offset <= state.offset) continue;
      const frame = encodeEntries(this.view, this.#epoch, [entry], now);
      const size = Buffer.byteLength(frame.text);
      if (bytes > 0 && bytes + size > maxBytes) return { chunks: due(), state: now };
      text += frame.text;
      bytes += size;
      now = frame.state;
    }
    return { chunks: due(), state: { ...now, offset: segment.last } };
  }
}

/** The offset of the frame that the shared frame at `index` names as the one before it. */
function sharedBefore(segment: Segment, index: number): number {
  return index === 0 ? segment.sentBefore : (segment.offsets[index - 1] ?? segment.sentBefore);
}

/** The shared frames from `start` on: all of them, or as many as fit, but at least one. */
function shared(segment: Segment, start: number, state: ChainState, maxBytes: number): Due {
  const begin = start === 0 ? 0 : (segment.ends[start - 1] ?? 0);
  let next = segment.offsets.length;
  if (segment.bytes.length - begin > maxBytes) {
    next = segment.ends.findIndex((end, index) => index >= start && end - begin > maxBytes);
    if (next <= start) next = start + 1;
  }
  const end = segment.ends[next - 1] ?? segment.bytes.length;
  const sent = segment.offsets[next - 1] ?? state.sent;
  return {
    chunks: [begin === 0 && end === segment.bytes.length ? segment.bytes : segment.bytes.subarray(begin, end)],
    state: { ...state, offset: next === segment.offsets.length ? segment.last : sent, sent },
  };
}
