import type { Socket } from 'bun';

const FRAME_END = '\n\n';
const LINE_END = '\r\n';

/**
 * A client of a stream on a bare socket. Unlike a `fetch`, which reads ahead, it can truly stop taking bytes, so that the
 * server sees a full socket.
 */
export class RawClient {
  /** The offset of every frame that carried an id. */
  readonly offsets: number[] = [];
  /** Bytes of frames, without HTTP. */
  received = 0;
  status = 0;
  closed = false;
  /** The answer came to its end, as HTTP says it; a socket that is dropped leaves it open. */
  finished = false;
  /** Milliseconds without reading after each read: some hundred kilobytes, or what there is. */
  #pauseMs = 0;
  #socket: Socket | undefined;
  #http: Buffer = Buffer.alloc(0);
  /** Bytes of the present HTTP chunk that are still to come; `undefined` before the headers have ended. */
  #chunkLeft: number | undefined;
  #frames: Buffer = Buffer.alloc(0);

  /** Asks for a stream. */
  static async open(url: string, token: string): Promise<RawClient> {
    const { hostname, port, pathname, search } = new URL(url);
    const client = new RawClient();
    client.#socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, bytes) => {
          client.#take(bytes);
          client.#rest();
        },
        close: () => {
          client.closed = true;
        },
      },
    });
    client.#socket.write(
      `GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nauthorization: Bearer ${token}\r\n\r\n`,
    );
    return client;
  }

  /** Takes nothing any more: the socket fills up. */
  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Reads slowly from now on: once in so many milliseconds. */
  trickle(pauseMs: number): void {
    this.#pauseMs = pauseMs;
    this.resume();
  }

  close(): void {
    this.#socket?.terminate();
  }

  #rest(): void {
    if (this.#pauseMs === 0) return;
    this.pause();
    setTimeout(() => this.resume(), this.#pauseMs);
  }

  #take(bytes: Buffer): void {
    this.#http = this.#http.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#http, bytes]);
    if (this.#chunkLeft === undefined && !this.#readHead()) return;
    while (this.#http.length > 0) {
      if (this.#chunkLeft === 0 && !this.#readChunkSize()) return;
      const part = this.#http.subarray(0, this.#chunkLeft);
      this.#http = this.#http.subarray(part.length);
      this.#chunkLeft = (this.#chunkLeft ?? 0) - part.length;
      this.#parse(part);
    }
  }

  #readHead(): boolean {
    const end = this.#http.indexOf(LINE_END + LINE_END);
    if (end === -1) return false;
    this.status = Number(this.#http.toString('latin1', 9, 12));
    this.#http = this.#http.subarray(end + 4);
    this.#chunkLeft = 0;
    return true;
  }

  /** RFC 9112 §7.1. The line end that closes the chunk before is still there, except before the first. */
  #readChunkSize(): boolean {
    const start = this.#http[0] === 13 ? 2 : 0;
    const end = this.#http.indexOf(LINE_END, start);
    if (end === -1) return false;
    this.#chunkLeft = Number.parseInt(this.#http.toString('latin1', start, end), 16);
    this.#http = this.#http.subarray(end + 2);
    this.finished = this.#chunkLeft === 0;
    return this.#chunkLeft > 0;
  }

  #parse(bytes: Buffer): void {
    this.received += bytes.length;
    this.#frames = this.#frames.length === 0 ? bytes : Buffer.concat([this.#frames, bytes]);
    let start = 0;
    for (;;) {
      const end = this.#frames.indexOf(FRAME_END, start);
      if (end === -1) break;
      const id = /^id: \w+\.(\d+)[.\n]/.exec(this.#frames.toString('latin1', start, Math.min(end, start + 64)));
      if (id !== null) this.offsets.push(Number(id[1]));
      start = end + FRAME_END.length;
    }
    // A copy: the rest would keep all of what was read alive.
    this.#frames = Buffer.from(this.#frames.subarray(start));
  }
}
