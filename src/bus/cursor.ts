/** A place in a channel: the offset of the last event that a reader has, in the epoch that numbers it. */
export interface Cursor {
  readonly epoch: string;
  readonly offset: number;
}

// Lower-case letters, digits and a dot only: safe in a header, a query and an SSE id (no NUL, no newline).
const CURSOR = /^([0-9a-z]{1,32})\.(0|[1-9][0-9]{0,15})$/;

/** `<epoch>.<offset>`: the SSE `id` and `Last-Event-ID`. */
export function formatCursor(cursor: Cursor): string {
  return `${cursor.epoch}.${cursor.offset}`;
}

/** The cursor that the text names, or `undefined` when it is none (also beyond 2^53, where numbers stop counting). */
export function parseCursor(text: string): Cursor | undefined {
  const match = CURSOR.exec(text);
  if (match === null) return undefined;
  const [, epoch = '', digits = ''] = match;
  const offset = Number(digits);
  return Number.isSafeInteger(offset) ? { epoch, offset } : undefined;
}
