import type { Json } from './json.ts';

/** What a JSON value comes to when it is encoded, found without encoding it. */
export interface JsonBounds {
  /** True when it nests deeper than was asked about; then nothing else is known. */
  readonly isTooDeep: boolean;
  /** No encoding of it has more bytes. */
  readonly atMostBytes: number;
}

/** One UTF-16 unit is three bytes of UTF-8 at most, or an escape of six. */
const UNIT_BYTES = 6;
/** The longest number that JavaScript writes, `-1.2345678901234567e-100`, with its comma. */
const NUMBER_BYTES = 26;
/** What surrounds a value: quotes or brackets, comma, colon. */
const FRAME_BYTES = 4;

/**
 * Measures a value level by level: a recursion, as in `JSON.stringify`, ends with the stack where the nesting does not.
 * @param maxDepth levels of objects and lists, the outermost counted
 */
export function boundsOf(value: Json | undefined, maxDepth: number): JsonBounds {
  let atMostBytes = 0;
  let level: readonly object[] = [];
  let next: object[] = [];
  const take = (item: unknown) => {
    atMostBytes += FRAME_BYTES;
    if (typeof item === 'string') atMostBytes += item.length * UNIT_BYTES;
    else if (typeof item === 'object' && item !== null) next.push(item);
    else atMostBytes += NUMBER_BYTES;
  };
  take(value);
  for (let depth = 1; next.length > 0; depth += 1) {
    if (depth > maxDepth) return { isTooDeep: true, atMostBytes };
    [level, next] = [next, []];
    for (const container of level) {
      if (Array.isArray(container)) {
        for (const item of container) take(item);
        continue;
      }
      for (const [name, item] of Object.entries(container)) {
        atMostBytes += name.length * UNIT_BYTES + FRAME_BYTES;
        take(item);
      }
    }
  }
  return { isTooDeep: false, atMostBytes };
}
