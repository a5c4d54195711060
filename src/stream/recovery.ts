import type { Cursor } from '../bus/cursor.ts';

/**
 * Every decision about resuming, as pure functions: no Redis, no HTTP, no time. What a connection may send next follows
 * from its offset alone, never from what it remembers of deliveries.
 */

/** Why a cursor is not honoured. */
export type ResetReason = 'trimmed' | 'epoch' | 'ahead' | 'malformed';

/** What a client asks for: nothing, a cursor, or something that is none. */
export type Request =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'from'; readonly cursor: Cursor };

/** How a stream opens. */
export type Opening =
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'resume'; readonly offset: number }
  | { readonly kind: 'reset'; readonly reason: ResetReason };

/** Where the channel stands, asked about the request's cursor in the same atomic step. */
export interface Standing extends Cursor {
  /** The event after the cursor's offset is still kept. */
  readonly nextKept: boolean;
}

/** The events that a window of memory holds: offsets `first` to `last`, without a hole. */
export interface Range {
  readonly first: number;
  readonly last: number;
}

export interface Recovery {
  /** Honour the cursor completely, or say why not (invariant 4). */
  open(request: Request, standing: Standing): Opening;
  /** What to do with an event read from history by a connection that has everything up to `offset`. */
  accept(offset: number, found: number): 'next' | 'repeated' | 'gap';
  /** Whether memory holds what a connection at `offset` is due. `undefined`: memory holds nothing. */
  due(offset: number, range: Range | undefined): 'nothing' | 'memory' | 'history';
}

export const recovery: Recovery = {
  open(request, standing) {
    if (request.kind === 'fresh') return { kind: 'snapshot' };
    if (request.kind === 'malformed') return { kind: 'reset', reason: 'malformed' };
    const { epoch, offset } = request.cursor;
    // Offsets of another epoch say nothing about this one, not even which is newer.
    if (epoch !== standing.epoch) return { kind: 'reset', reason: 'epoch' };
    if (offset > standing.offset) return { kind: 'reset', reason: 'ahead' };
    // Streams are trimmed from the front only: when the next event is there, all later ones are.
    if (offset < standing.offset && !standing.nextKept) return { kind: 'reset', reason: 'trimmed' };
    return { kind: 'resume', offset };
  },

  accept(offset, found) {
    if (found <= offset) return 'repeated';
    return found === offset + 1 ? 'next' : 'gap';
  },

  due(offset, range) {
    // At `last` the connection has all there is; beyond it the tail is behind what the connection read by itself.
    if (range === undefined || offset >= range.last) return 'nothing';
    // At `first - 1` the whole range is due; one lower and an event is missing from it.
    return offset >= range.first - 1 ? 'memory' : 'history';
  },
};
