import { type Cursor, parseCursor } from '../../src/bus/cursor.ts';

/** What a frame's id says: where its event stands, which one it is, and what the client's snapshot contains. */
export type Place = Cursor;

/** The one place that knows how an id is read. */
export const placeOf = parseCursor;

export function isSamePlace(a: Place, b: Place): boolean {
  return a.epoch === b.epoch && a.offset === b.offset && a.proof === b.proof;
}

export function nameOf({ epoch, offset, proof }: Place): string {
  return `${epoch}.${offset}.${proof}`;
}
