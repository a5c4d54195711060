/** Consecutive live frames of a stream, and what they carry. */
export interface Run {
  readonly epoch: string;
  readonly first: number;
  readonly last: number;
  /** When each event was made, in milliseconds since the epoch. */
  readonly madeAt: Float64Array;
}

/** What a reader finds in its stream. */
export interface FrameListener {
  /** Live frames, numbered without a hole among themselves. */
  onRun(run: Run): void;
  /** A frame that names a position: `snapshot`, `ready`, `resumed`, `position`. */
  onPosition(epoch: string, offset: number, event: string): void;
}

/** Chunks that were parsed already. */
const MOST_REMEMBERED = 256;
/** Of a chunk's beginning: its first id, which no other run of frames begins with. */
const HEAD_BYTES = 48;
const POSITION_EVENTS: ReadonlySet<string> = new Set(['snapshot', 'ready', 'resumed', 'position']);
const ID = /^id: ([0-9a-z]+)\.([0-9]+)\./m;
const EVENT = /^event: (.*)$/m;
const MADE_AT = /"ts":([0-9.e+]+)/;
const CR_LF = 2;

/**
 * What the chunks of all clients contained: the clients of one view are sent the same bytes, so a chunk that equals a
 * known one need not be parsed again. Comparing every byte proves as much as parsing, at the speed of `memcmp`.
 */
export class KnownChunks {
  readonly #byHead = new Map<string, { readonly bytes: Buffer; readonly runs: readonly Run[] }>();

  find(bytes: Buffer): readonly Run[] | undefined {
    const known = this.#byHead.get(headOf(bytes));
    return known?.bytes.equals(bytes) ? known.runs : undefined;
  }

  keep(bytes: Buffer, runs: readonly Run[]): void {
    if (this.#byHead.size >= MOST_REMEMBERED) this.#byHead.clear();
    this.#byHead.set(headOf(bytes), { bytes: Buffer.from(bytes), runs });
  }
}

function headOf(bytes: Buffer): string {
  return `${bytes.length} ${bytes.toString('latin1', 0, HEAD_BYTES)}`;
}

/** Takes an HTTP/1.1 answer with a chunked event stream apart, as the bytes come. */
export class FrameReader {
  readonly #known: KnownChunks;
  readonly #listener: FrameListener;
  /** Bytes of an unfinished head or chunk. */
  #rest: Buffer | undefined;
  /** Text of an unfinished frame. */
  #frame = '';
  #headRead = false;

  constructor(known: KnownChunks, listener: FrameListener) {
    this.#known = known;
    this.#listener = listener;
  }

  /** @throws when the answer is not a chunked 200 */
  feed(received: Buffer): void {
    const bytes = this.#rest === undefined ? received : Buffer.concat([this.#rest, received]);
    let at = this.#headRead ? 0 : this.#readHead(bytes);
    while (this.#headRead) {
      const sizeEnd = bytes.indexOf('\r\n', at, 'latin1');
      if (sizeEnd === -1) break;
      const start = sizeEnd + CR_LF;
      const end = start + Number.parseInt(bytes.toString('latin1', at, sizeEnd), 16);
      if (end + CR_LF > bytes.length) break;
      this.#readChunk(bytes.subarray(start, end));
      at = end + CR_LF;
    }
    this.#rest = at === bytes.length ? undefined : bytes.subarray(at);
  }

  /** @returns where the body begins; 0 while the head is unfinished */
  #readHead(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n\r\n', 0, 'latin1');
    if (end === -1) return 0;
    const head = bytes.toString('latin1', 0, end);
    if (!head.startsWith('HTTP/1.1 200')) throw new Error(`the stream was refused: ${head.slice(0, 30)}`);
    if (!/^transfer-encoding: *chunked/im.test(head)) throw new Error('the stream is not chunked');
    this.#headRead = true;
    return end + 2 * CR_LF;
  }

  #readChunk(chunk: Buffer): void {
    const isWhole = this.#frame === '';
    const known = isWhole ? this.#known.find(chunk) : undefined;
    if (known !== undefined) {
      for (const run of known) this.#listener.onRun(run);
      return;
    }
    const { runs, hasOthers } = this.#parse(chunk.toString());
    if (isWhole && this.#frame === '' && !hasOthers) this.#known.keep(chunk, runs);
  }

  #parse(text: string): { runs: Run[]; hasOthers: boolean } {
    const frames = (this.#frame + text).split('\n\n');
    this.#frame = frames.pop() ?? '';
    const runs: Run[] = [];
    let hasOthers = false;
    let open = { epoch: '', first: 0, last: -1, madeAt: [0] };
    const close = () => {
      if (open.epoch === '') return;
      const run = { ...open, madeAt: Float64Array.from(open.madeAt) };
      runs.push(run);
      this.#listener.onRun(run);
      open = { epoch: '', first: 0, last: -1, madeAt: [] };
    };
    for (const frame of frames) {
      const [, epoch, digits] = ID.exec(frame) ?? [];
      const event = EVENT.exec(frame)?.[1] ?? 'message';
      if (epoch === undefined || POSITION_EVENTS.has(event)) {
        close();
        hasOthers = true;
        if (epoch !== undefined) this.#listener.onPosition(epoch, Number(digits), event);
        continue;
      }
      const offset = Number(digits);
      const madeAt = Number(MADE_AT.exec(frame)?.[1]) * 1000;
      if (epoch !== open.epoch || offset !== open.last + 1) {
        close();
        open = { epoch, first: offset, last: offset, madeAt: [madeAt] };
      } else {
        open.last = offset;
        open.madeAt.push(madeAt);
      }
    }
    close();
    return { runs, hasOthers };
  }
}
