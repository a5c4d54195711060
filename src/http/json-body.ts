import { AppError } from '../errors.ts';

/**
 * How deep objects and lists of a request's body may nest. Code that walks JSON calls itself for each level, and a stack
 * ends somewhere. A few more than a payload may have, which is a part of its body.
 */
export const MAX_BODY_DEPTH = 72;

/**
 * How many values a body may hold. Parsing and validating 2 MiB of empty lists takes 300 ms, in which the process does
 * nothing else, and a sign-in needs no credentials to have that done.
 */
export const MAX_BODY_VALUES = 50_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * The JSON that a request carries.
 * @throws {AppError} `invalid` for bytes that are no UTF-8, nest deeper than {@link MAX_BODY_DEPTH} or hold more than
 *   {@link MAX_BODY_VALUES}
 * @throws {SyntaxError} for text that is no JSON
 */
export async function readJsonBody(request: Request): Promise<unknown> {
  const bytes = await request.bytes();
  // Before it is parsed: what is too much costs a look at its first brackets.
  assertBounded(bytes);
  return JSON.parse(decode(bytes));
}

/**
 * The JSON of a message, within the same bounds.
 * @throws {AppError} `invalid`, as {@link readJsonBody}
 * @throws {SyntaxError} for text that is no JSON
 */
export function parseJsonMessage(text: string): unknown {
  assertBounded(encoder.encode(text));
  return JSON.parse(text);
}

function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new AppError('invalid', 'The body must be UTF-8');
  }
}

/**
 * Counts outside of strings: 2 ms for 2 MiB. Whether it is JSON at all is for the parser to say.
 * @param bytes JSON in UTF-8, in which no byte of a longer character looks like a bracket or a quote
 * @throws {AppError} `invalid` when parsing it would take too long, or too deep a stack
 */
export function assertBounded(bytes: Uint8Array): void {
  let depth = 0;
  let values = 1;
  for (let index = 0; index < bytes.length; index += 1) {
    switch (bytes[index]) {
      case QUOTE:
        index = endOfString(bytes, index + 1);
        break;
      case 0x5b: // [
      case 0x7b: // {
        depth += 1;
        values += 1;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth -= 1;
        break;
      case 0x2c: // ,
        values += 1;
    }
    if (depth > MAX_BODY_DEPTH) {
      throw new AppError(
        'invalid',
        `The body may nest at most ${MAX_BODY_DEPTH} levels of objects and lists; flatten it`,
      );
    }
    if (values > MAX_BODY_VALUES)
      throw new AppError('invalid', `The body may hold at most ${MAX_BODY_VALUES} values; send less, or split it`);
  }
}

/** @returns where the quote is that ends the string */
function endOfString(bytes: Uint8Array, start: number): number {
  let index = start;
  while (index < bytes.length && bytes[index] !== QUOTE) index += bytes[index] === BACKSLASH ? 2 : 1;
  return index;
}
