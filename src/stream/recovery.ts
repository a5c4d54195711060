import { type Cursor, type Place, UNPROVEN } from '../bus/cursor.ts';
import type { Entry } from '../bus/entry.ts';
import type { Position } from '../bus/event-log.ts';

/**
 * Every decision about resuming, as pure functions: no Redis, no HTTP, no time. What a connection may send next follows
 * from its place alone, never from what it remembers of deliveries.
 */

/**
 * Why a cursor is not honoured. `ahead`: the log does not hold the event that the cursor names; it came back older than
 * it was.
 */
export type ResetReason = 'trimmed' | 'epoch' | 'ahead' | 'malformed';

/** What a client asks for: nothing, a cursor, or something that is none. */
export type Resumption =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'from'; readonly cursor: Cursor };

/** How a stream opens. */
export type Opening =
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'resume'; readonly place: Place }
  | { readonly kind: 'reset'; readonly reason: ResetReason };

/** Where the channel stands, asked about the request's cursor in the same atomic step. */
export type Standing = Position;

/** The events that a window of memory holds: offsets `first` to `last`, without a hole. */
export interface OffsetRange {
  readonly first: number;
  readonly last: number;
}

export interface Recovery {
  /** Honour the cursor completely, or say why not (invariant 4). */
  open(request: Resumption, standing: Standing): Opening;
  /** What to do with an event read from history by a connection that has everything up to its place. */
  accept(at: Pick<Place, 'offset' | 'proof'>, found: Pick<Entry, 'offset' | 'before'>): 'next' | 'repeated' | 'gap';
  /** Whether memory holds what a connection at `offset` is due. `undefined`: memory holds nothing. */
  due(offset: number, range: OffsetRange | undefined): 'nothing' | 'memory' | 'history';
  /** Whether a reader's proof is that of the log at the same offset (invariant 3). */
  proves(proof: string, found: string): boolean;
  /** The database revision up to which a client's snapshot contains what comes next; the cursor carries it. */
  contained(revision: number): number;
}

export const recovery: Recovery = {
  open(request, standing) {
    if (request.kind === 'fresh') return { kind: 'snapshot' };
    if (request.kind === 'malformed') return { kind: 'reset', reason: 'malformed' };
    const { epoch, offset, proof, revision } = request.cursor;
    // Offsets of another epoch say nothing about this one, not even which is newer.
    if (epoch !== standing.epoch) return { kind: 'reset', reason: 'epoch' };
    if (offset > standing.offset) return { kind: 'reset', reason: 'ahead' };
    // Streams are trimmed from the front only: when the next event is there, all later ones are.
    if (offset < standing.offset && !standing.nextKept) return { kind: 'reset', reason: 'trimmed' };
    if (proof === UNPROVEN) return { kind: 'reset', reason: 'malformed' };
    // The number is there, but it was given to another event, or what came before it was: the log lost some and went on.
    if (!this.proves(proof, standing.readerProof)) return { kind: 'reset', reason: 'ahead' };
    return { kind: 'resume', place: { offset, proof, revision: this.contained(revision) } };
  },

  accept(at, found) {
    if (found.offset <= at.offset) return 'repeated';
    return found.offset === at.offset + 1 && this.proves(at.proof, found.before) ? 'next' : 'gap';
  },

  due(offset, range) {
    // At `last` the connection has all there is; beyond it the tail is behind what the connection read by itself.
    if (range === undefined || offset >= range.last) return 'nothing';
    // At `first - 1` the whole range is due; one lower and an event is missing from it.
    return offset >= range.first - 1 ? 'memory' : 'history';
  },

  proves: (proof, found) => proof === found,

  contained: (revision) => revision,
};
