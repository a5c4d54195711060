import type { Socket } from 'bun';
import { until } from './until.ts';

/** A WebSocket client on a bare socket: unlike a browser's it can stop taking bytes, so that the server sees a full socket. */
export class RawWsClient {
  /** Texts of the messages that came whole. */
  readonly texts: string[] = [];
  received = 0;
  closed = false;
  /** The largest message, in bytes. */
  largest = 0;
  #socket: Socket | undefined;
  #bytes: Buffer = Buffer.alloc(0);
  #unsent: Buffer = Buffer.alloc(0);
  #isOpen = false;
  #pauseMs = 0;

  static async open(url: string, token: string): Promise<RawWsClient> {
    const { hostname, port } = new URL(url);
    const client = new RawWsClient();
    client.#socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, bytes) => {
          client.#take(bytes);
          client.#rest();
        },
        drain: () => client.#write(),
        close: () => {
          client.closed = true;
        },
      },
    });
    client.#socket.write(
      [
        'GET /api/v1/ws HTTP/1.1',
        `host: ${hostname}:${port}`,
        'upgrade: websocket',
        'connection: Upgrade',
        'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-version: 13',
        `authorization: Bearer ${token}`,
        '\r\n',
      ].join('\r\n'),
    );
    await until('the sign-in', () => client.messages.some(({ op }) => op === 'auth'));
    return client;
  }

  get messages(): Record<string, unknown>[] {
    return this.texts.map((text) => JSON.parse(text));
  }

  send(message: object, times = 1): void {
    const one = masked(JSON.stringify(message));
    this.#unsent = Buffer.concat([this.#unsent, ...Array.from({ length: times }, () => one)]);
    this.#write();
  }

  /** What the socket takes of what is to be sent; it says when it takes more. */
  #write(): void {
    if (this.#unsent.length > 0)
      this.#unsent = this.#unsent.subarray(Math.max(0, this.#socket?.write(this.#unsent) ?? 0));
  }

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
    this.received += bytes.length;
    this.#bytes = this.#bytes.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#bytes, bytes]);
    if (!this.#isOpen) {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end === -1) return;
      this.#isOpen = true;
      this.#bytes = this.#bytes.subarray(end + 4);
    }
    while (this.#readMessage());
    // A copy: the rest would keep all of what was read alive.
    this.#bytes = Buffer.from(this.#bytes);
  }

  /** RFC 6455 §5.2; a server does not mask, and this one does not fragment. */
  #readMessage(): boolean {
    if (this.#bytes.length < 2) return false;
    const [opcode, short] = [this.#bytes.readUInt8(0) & 15, this.#bytes.readUInt8(1)];
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (this.#bytes.length < head) return false;
    const length =
      short < 126 ? short : short === 126 ? this.#bytes.readUInt16BE(2) : Number(this.#bytes.readBigUInt64BE(2));
    if (this.#bytes.length < head + length) return false;
    if (opcode === 1) this.texts.push(this.#bytes.toString('utf8', head, head + length));
    this.largest = Math.max(this.largest, length);
    this.#bytes = this.#bytes.subarray(head + length);
    return true;
  }
}

/** A text message whose mask changes nothing: four zero bytes. */
function masked(text: string): Buffer {
  const payload = Buffer.from(text);
  const head = Buffer.alloc(14);
  head.writeUInt8(0x81, 0);
  if (payload.length < 126) {
    head.writeUInt8(0x80 | payload.length, 1);
    return Buffer.concat([head.subarray(0, 6), payload]);
  }
  head.writeUInt8(0x80 | 127, 1);
  head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}
