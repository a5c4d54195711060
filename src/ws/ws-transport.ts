import { jsonFraming } from '../stream/json-framing.ts';
import type { Transport } from '../stream/transport.ts';

/** Sent at once, and the largest text of a message: what a client that reads nothing costs, and what it must be able to take. */
const PIECE_BYTES = 64 * 1024;
const LINE_END = 0x0a;
const NOTHING: readonly Uint8Array[] = [];

const decoder = new TextDecoder();

/** What carries the messages of all streams of a socket. */
export interface MessageWriter {
  /** False while the socket takes nothing. */
  readonly writable: boolean;
  send(messages: readonly string[]): void;
}

/**
 * One stream of a WebSocket. Its frames are lines of JSON that it shares with other connections; each becomes a message that
 * names the stream, and one that is larger than {@link PIECE_BYTES} several: `{"sid","part","more"}`.
 */
export class WsTransport implements Transport {
  readonly framing = jsonFraming;
  readonly #writer: MessageWriter;
  readonly #sid: string;
  readonly #onEnd: () => void;
  /** What was written and not yet sent: from `#at` on in the first chunk. */
  #chunks = NOTHING;
  #at = 0;
  /** While a large frame is being sent: what decodes it, because a piece may end within a character. */
  #parts: TextDecoder | undefined;
  #closed = false;
  #onFinished: (() => void) | undefined;
  onDrain = () => {};

  /** @param onEnd called once, when nothing more will be sent */
  constructor(writer: MessageWriter, sid: string, onEnd: () => void) {
    this.#writer = writer;
    this.#sid = JSON.stringify(sid);
    this.#onEnd = onEnd;
  }

  get writable(): boolean {
    return !this.#closed && !this.hasMore && this.#writer.writable;
  }

  /** Nothing more will be sent. */
  get ended(): boolean {
    return this.#closed;
  }

  /** Something was written that has not been sent. */
  get hasMore(): boolean {
    return this.#chunks.length > 0;
  }

  write(chunks: readonly Uint8Array[]): void {
    if (this.#closed) return;
    this.#chunks = this.hasMore ? [...this.#chunks, ...chunks] : chunks;
    while (this.hasMore && this.#writer.writable) this.sendPiece();
  }

  end(last: Uint8Array, onFinished: () => void): void {
    if (this.#closed) return onFinished();
    this.#onFinished = onFinished;
    this.write([last]);
  }

  /** The stream is dropped, in the middle of a frame if need be; the socket goes on, and its client is told. */
  abort(): void {
    if (this.#closed) return;
    this.#writer.send([`{"sid":${this.#sid},"event":"end","data":{"dropped":true}}`]);
    this.leave();
  }

  /** The same, for a client that has asked for it or has gone. */
  leave(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#chunks = NOTHING;
    this.#parts = undefined;
    this.#onFinished?.();
    this.#onEnd();
  }

  /** Sends as many whole frames as make a piece, or a piece of a frame that is larger. */
  sendPiece(): void {
    const [pieces, isWhole] = this.#take();
    if (this.#parts === undefined && isWhole) this.#writer.send(this.#messages(pieces));
    else this.#sendPart(pieces, isWhole);
    if (!this.hasMore && this.#onFinished !== undefined) this.leave();
  }

  #messages(pieces: readonly Uint8Array[]): string[] {
    const [only] = pieces;
    const lines = pieces.length === 1 && only !== undefined ? sharedLines(only) : linesOf(decoded(pieces));
    return lines.map((line) => `{"sid":${this.#sid},${line}`);
  }

  #sendPart(pieces: readonly Uint8Array[], isLast: boolean): void {
    const parts = this.#parts ?? new TextDecoder();
    this.#parts = isLast ? undefined : parts;
    const text = pieces.map((piece) => parts.decode(piece, { stream: true })).join('');
    const part = JSON.stringify(isLast ? text.slice(0, -1) : text);
    this.#writer.send([`{"sid":${this.#sid},"part":${part},"more":${!isLast}}`]);
  }

  /**
   * Takes what goes out next: up to a piece, cut behind the last frame that ends within it. While a large frame is being sent, no
   * more than the rest of it.
   * @returns the bytes, and whether a frame ends with them
   */
  #take(): [pieces: Uint8Array[], isWhole: boolean] {
    const pieces: Uint8Array[] = [];
    /** Behind the last frame that ends: how many pieces, and where in the last of them. */
    let lineEnd: { count: number; end: number } | undefined;
    let room = PIECE_BYTES;
    for (let index = 0; index < this.#chunks.length && room > 0; index += 1) {
      const chunk = this.#chunks[index] ?? new Uint8Array(0);
      const start = index === 0 ? this.#at : 0;
      const piece = chunk.length - start <= room && start === 0 ? chunk : chunk.subarray(start, start + room);
      pieces.push(piece);
      room -= piece.length;
      const end = this.#parts === undefined ? piece.lastIndexOf(LINE_END) : piece.indexOf(LINE_END);
      if (end !== -1) lineEnd = { count: pieces.length, end: end + 1 };
      if (end !== -1 && this.#parts !== undefined) break;
    }
    if (lineEnd !== undefined) {
      const last = pieces[lineEnd.count - 1];
      pieces.length = lineEnd.count;
      if (last !== undefined && lineEnd.end < last.length) pieces[lineEnd.count - 1] = last.subarray(0, lineEnd.end);
    }
    this.#skip(pieces);
    return [pieces, lineEnd !== undefined];
  }

  #skip(pieces: readonly Uint8Array[]): void {
    const last = this.#chunks[pieces.length - 1];
    const at = (pieces.length === 1 ? this.#at : 0) + (pieces.at(-1)?.length ?? 0);
    const isAtEnd = at === (last?.length ?? 0);
    const rest = this.#chunks.slice(isAtEnd ? pieces.length : pieces.length - 1);
    this.#chunks = rest.length === 0 ? NOTHING : rest;
    this.#at = isAtEnd ? 0 : at;
  }
}

/** The frames of the chunk that was asked about last: everyone who is live is due the same one. */
let shared: { readonly chunk: Uint8Array; readonly lines: readonly string[] } | undefined;

function sharedLines(chunk: Uint8Array): readonly string[] {
  if (shared?.chunk !== chunk) shared = { chunk, lines: linesOf(decoder.decode(chunk)) };
  return shared.lines;
}

function decoded(pieces: readonly Uint8Array[]): string {
  return decoder.decode(Buffer.concat(pieces));
}

/** Frames without the brace that opens them. */
function linesOf(text: string): string[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => line.slice(1));
}
