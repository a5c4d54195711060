/**
 * A place in a channel: the newest event that a reader has, named by its number and proved by its proof. The proof is
 * chained over all events of the channel up to there (`publish.lua`), so two logs that agree on it agree on everything
 * before it, too: a Redis that came back older and handed the number out again cannot be mistaken for the one that was
 * read (design, invariant 3).
 */
export interface Place {
  readonly offset: number;
  /** Eight hex digits; {@link NO_PROOF} before the first event. */
  readonly proof: string;
  /** Events up to this database revision are in the reader's snapshot although they come later; 0: none are. */
  readonly revision: number;
}

/** A place, and the epoch whose numbers it speaks of. */
export interface Cursor extends Place {
  readonly epoch: string;
  /** The client was told that another connection took its slot: it may resume, and take nobody else's. */
  readonly evicted?: boolean;
}

/** Where every channel's chain begins. */
export const NO_PROOF = '0';

/** What a cursor that was written by hand, or by an earlier version, proves. No place has this proof. */
export const UNPROVEN = '?';

// Lower-case letters, digits and a dot only: safe in a header, a query and an SSE id (no NUL, no newline).
const CURSOR = /^([0-9a-z]{1,32})\.(0|[1-9][0-9]{0,15})(?:\.([0-9a-f]{8}|0)(?:\.([1-9][0-9]{0,15}))?(\.e)?)?$/;

/** `<epoch>.<offset>.<proof>`, `.<revision>` behind it where there is one: the SSE `id` and `Last-Event-ID`. */
export function formatCursor({ epoch, offset, proof, revision, evicted }: Cursor): string {
  const place = `${epoch}.${offset}.${proof}`;
  return `${revision === 0 ? place : `${place}.${revision}`}${evicted ? '.e' : ''}`;
}

/** The cursor that the text names, or `undefined` when it is none (also beyond 2^53, where numbers stop counting). */
export function parseCursor(text: string): Cursor | undefined {
  const match = CURSOR.exec(text);
  if (match === null) return undefined;
  const [, epoch = '', digits = '', chained, snapshot = '0', mark] = match;
  const [offset, revision] = [Number(digits), Number(snapshot)];
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(revision)) return undefined;
  const proof = chained ?? (offset === 0 ? NO_PROOF : UNPROVEN);
  const cursor = { epoch, offset, proof, revision };
  return mark === undefined ? cursor : { ...cursor, evicted: true };
}
