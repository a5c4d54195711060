import { isJsonObject, type JsonObject } from '../bus/event.ts';

/**
 * The frames of DECNET's bus (contract §2.2): an ASCII line `VERB[ argument]\n`, the length of the body in four bytes,
 * big-endian, and the body, a JSON object or nothing.
 */

const VERBS = ['HELLO', 'PUB', 'SUB', 'UNSUB', 'EVT', 'BYE'] as const;
export type Verb = (typeof VERBS)[number];

interface Header {
  readonly verb: Verb;
  /** Topic, pattern or name; empty where the line has none. */
  readonly argument: string;
}

export interface Frame extends Header {
  readonly body: Uint8Array;
}

/** Bytes of the line, its end not counted. */
export const MAX_HEADER_BYTES = 4096;
export const MAX_BODY_BYTES = 1024 * 1024;

/** What a peer must not send. The connection ends with it: nobody knows where the next frame begins. */
export class ProtocolError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ProtocolError';
  }
}

const NEWLINE = 0x0a;
const LENGTH_BYTES = 4;
/** A buffer that has grown beyond this is given back once it is empty. */
const KEPT_BYTES = 64 * 1024;

/** Finds the frames in bytes that come in pieces of any size. What it holds is bounded by what its owner pushes. */
export class FrameReader {
  #bytes = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  /** The line is known to have no end before this. */
  #searched = 0;
  /** The header of the frame whose body is awaited. */
  #header: Header | undefined;
  #bodyBytes: number | undefined;

  /** Bytes that no frame has been made of. */
  get buffered(): number {
    return this.#end - this.#start;
  }

  /** True in the middle of a frame: the end of the stream would cut it. */
  get isInside(): boolean {
    return this.#header !== undefined || this.buffered > 0;
  }

  /** Forgets what it holds: nothing of it is wanted. */
  clear(): void {
    this.#start = this.#end;
    this.#header = undefined;
    this.#bodyBytes = undefined;
    this.#giveBack();
  }

  push(bytes: Uint8Array): void {
    this.#makeRoom(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /**
   * The next frame; `undefined` when more bytes are needed.
   * @throws {ProtocolError}
   */
  next(): Frame | undefined {
    this.#header ??= this.#readHeader();
    if (this.#header === undefined) return undefined;
    this.#bodyBytes ??= this.#readLength();
    if (this.#bodyBytes === undefined || this.buffered < this.#bodyBytes) return undefined;
    const body = this.#bytes.subarray(this.#start, this.#start + this.#bodyBytes);
    this.#start += body.length;
    const frame = { ...this.#header, body };
    this.#header = undefined;
    this.#bodyBytes = undefined;
    this.#giveBack();
    return frame;
  }

  #readHeader(): Header | undefined {
    // Behind the end there are zeros only.
    const found = this.#bytes.indexOf(NEWLINE, Math.max(this.#searched, this.#start));
    const length = (found === -1 ? this.#end : found) - this.#start;
    if (length > MAX_HEADER_BYTES) throw new ProtocolError(`a header of more than ${MAX_HEADER_BYTES} bytes`);
    this.#searched = this.#end;
    if (found === -1) return undefined;
    this.#searched = 0;
    const line = this.#bytes.toString('latin1', this.#start, found);
    this.#start = found + 1;
    return parseHeader(line);
  }

  #readLength(): number | undefined {
    if (this.buffered < LENGTH_BYTES) return undefined;
    const length = this.#bytes.readUInt32BE(this.#start);
    assertBodyBytes(length);
    this.#start += LENGTH_BYTES;
    return length;
  }

  /** Into a new buffer of twice the size, so that each byte is copied a few times at most; what was handed out stays as it is. */
  #makeRoom(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const rest = this.#bytes.subarray(this.#start, this.#end);
    const needed = rest.length + length;
    this.#bytes = Buffer.alloc(rest.length === 0 ? needed : needed * 2);
    this.#bytes.set(rest);
    this.#searched = Math.max(0, this.#searched - this.#start);
    this.#end = rest.length;
    this.#start = 0;
  }

  #giveBack(): void {
    if (this.buffered > 0 || this.#bytes.length <= KEPT_BYTES) return;
    this.#bytes = Buffer.alloc(0);
    this.#start = 0;
    this.#end = 0;
    this.#searched = 0;
  }
}

const ASCII = /^[\0-\x7f]*$/;

function parseHeader(text: string): Header {
  const line = text.endsWith('\r') ? text.slice(0, -1) : text;
  if (line === '') throw new ProtocolError('an empty header');
  if (!ASCII.test(line)) throw new ProtocolError('a header that is not ASCII');
  const space = line.indexOf(' ');
  const word = space === -1 ? line : line.slice(0, space);
  const argument = space === -1 ? '' : line.slice(space + 1);
  const verb = VERBS.find((known) => known === word);
  if (verb === undefined) throw new ProtocolError(`the unknown verb '${word.slice(0, 20)}'`);
  if (argument === '' && (verb === 'PUB' || verb === 'SUB')) throw new ProtocolError(`${verb} without an argument`);
  return { verb, argument };
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
/**
 * The JSON object that a body holds; an empty body is an empty object. `NaN` and infinities, which Python writes and reads,
 * are no JSON: they become `null`.
 * @throws {ProtocolError} for anything else
 */
export function parseBody(body: Uint8Array): JsonObject {
  if (body.length === 0) return {};
  try {
    const text = utf8.decode(body);
    const value = parseJson(text) ?? parseJson(withoutNonNumbers(text));
    if (isJsonObject(value)) return value;
  } catch {
    // It is no UTF-8.
  }
  throw new ProtocolError('a body that is no JSON object');
}

const NON_NUMBERS = ['NaN', 'Infinity'];

/** By hand: a regular expression takes 100 ms for a string of nothing but escapes. */
function withoutNonNumbers(text: string): string {
  let [result, from] = ['', 0];
  for (let index = 0; index < text.length; index += 1) {
    const letter = text[index];
    if (letter === '"') {
      index = endOfString(text, index + 1);
    } else if (letter === 'N' || letter === 'I') {
      const word = NON_NUMBERS.find((known) => text.startsWith(known, index));
      if (word === undefined) return text;
      result += `${text.slice(from, text[index - 1] === '-' ? index - 1 : index)}null`;
      from = index + word.length;
      index = from - 1;
    }
  }
  return result + text.slice(from);
}

/** @returns where the quote is that ends the string */
function endOfString(text: string, start: number): number {
  let index = start;
  while (index < text.length && text[index] !== '"') index += text[index] === '\\' ? 2 : 1;
  return index;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * A frame's bytes.
 * @param argument ASCII, without line ends
 * @param body JSON, or nothing
 * @throws {ProtocolError} when a peer would not take it
 */
export function encodeFrame(verb: Verb, argument = '', body = ''): Uint8Array {
  const header = argument === '' ? `${verb}\n` : `${verb} ${argument}\n`;
  if (!ASCII.test(argument)) throw new ProtocolError('a header that is not ASCII');
  const bodyBytes = Buffer.byteLength(body);
  assertBodyBytes(bodyBytes);
  const frame = Buffer.allocUnsafeSlow(header.length + LENGTH_BYTES + bodyBytes);
  frame.write(header, 0, 'latin1');
  frame.writeUInt32BE(bodyBytes, header.length);
  frame.write(body, header.length + LENGTH_BYTES, 'utf8');
  return frame;
}

function assertBodyBytes(length: number): void {
  if (length > MAX_BODY_BYTES) throw new ProtocolError(`a body of ${length} bytes, more than ${MAX_BODY_BYTES}`);
}
