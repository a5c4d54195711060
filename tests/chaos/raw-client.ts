import type { Socket } from 'bun';
import type { Line, OnFrame } from './line.ts';

/**
 * A client on a bare socket. Unlike `fetch` it can really stop reading, so that the server's side fills up; and it can
 * vanish without a word.
 */
export class RawClient implements Line {
  /** 0 before the headers are there. */
  status = 0;
  ended = false;
  #socket: Socket | undefined;
  #raw = new Uint8Array(0);
  #text = '';
  #headersDone = false;
  readonly #decoder = new TextDecoder();
  readonly #onFrame: OnFrame;

  private constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  /** Resolves when connected; the answer comes later. A refused connection is one that has ended. */
  static async open(url: string, headers: Record<string, string>, onFrame: OnFrame): Promise<RawClient> {
    const client = new RawClient(onFrame);
    const { hostname, port, pathname, search } = new URL(url);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    try {
      client.#socket = await Bun.connect({
        hostname,
        port: Number(port),
        socket: {
          open: (socket) => {
            socket.write(`GET ${pathname}${search} HTTP/1.1\r\nhost: ${hostname}:${port}\r\n${lines.join('')}\r\n`);
          },
          data: (_, bytes) => client.#take(bytes),
          close: () => client.#end(),
          end: () => client.#end(),
          error: () => client.#end(),
          connectError: () => client.#end(),
        },
      });
    } catch {
      client.#end(); // The node is down.
    }
    return client;
  }

  pause(): void {
    if (!this.ended) this.#socket?.pause();
  }

  resume(): void {
    if (!this.ended) this.#socket?.resume();
  }

  /** Goes away without closing properly. What had arrived and was not read is not read. */
  vanish(): void {
    this.#end();
    this.#socket?.terminate();
  }

  #end(): void {
    this.ended = true;
  }

  #take(bytes: Uint8Array): void {
    if (this.ended) return;
    this.#raw = this.#raw.length === 0 ? bytes.slice() : Buffer.concat([this.#raw, bytes]);
    if (!this.#headersDone && !this.#readHeaders()) return;
    this.#readChunks();
    for (let end = this.#text.indexOf('\n\n'); end !== -1; end = this.#text.indexOf('\n\n')) {
      this.#readFrame(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 2);
    }
  }

  #readHeaders(): boolean {
    const head = this.#decoder.decode(this.#raw.subarray(0, 8192));
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) return false;
    this.status = Number(head.slice(9, 12));
    this.#headersDone = true;
    this.#raw = this.#raw.subarray(end + 4);
    if (this.status !== 200) this.#end();
    return true;
  }

  /** RFC 9112 §7.1. */
  #readChunks(): void {
    for (;;) {
      const newline = this.#raw.indexOf(10);
      if (newline === -1) return;
      const size = Number.parseInt(Buffer.from(this.#raw.subarray(0, newline)).toString('latin1'), 16);
      if (size === 0) return this.#end();
      if (this.#raw.length < newline + 1 + size + 2) return;
      this.#text += this.#decoder.decode(this.#raw.subarray(newline + 1, newline + 1 + size), { stream: true });
      this.#raw = this.#raw.subarray(newline + 1 + size + 2);
    }
  }

  #readFrame(text: string): void {
    const fields = new Map<string, string>();
    for (const line of text.split('\n')) {
      const colon = line.indexOf(': ');
      if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
    }
    const data = fields.get('data');
    if (data !== undefined) this.#onFrame({ id: fields.get('id'), event: fields.get('event') ?? 'message', data });
  }
}
