import { parseCursor } from '../../src/bus/cursor.ts';

/** What a frame's id says: where its event stands, and which one it is. */
export interface Place {
  readonly epoch: string;
  readonly offset: number;
  /** Chained over all events of the channel up to this one; `0` before the first. */
  readonly proof: string;
  /** Of the snapshot from which the client started, as long as it matters. */
  readonly revision: number | undefined;
}

/** The one place that knows how an id is written. */
export function placeOf(id: string): Place | undefined {
  const cursor: object | undefined = parseCursor(id);
  if (cursor === undefined) return undefined;
  return { proof: '', revision: undefined, ...(cursor as { epoch: string; offset: number }) };
}

export function isSamePlace(a: Place, b: Place): boolean {
  return a.epoch === b.epoch && a.offset === b.offset && a.proof === b.proof;
}

export function nameOf({ epoch, offset, proof }: Place): string {
  return `${epoch}.${offset}.${proof}`;
}
