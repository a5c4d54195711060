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
  /** The code with which the server closed it; 0 before, and when it went without a word. */
  closeCode = 0;
  readonly #onText: (text: string) => void;
  readonly #onClose: () => void;

  private constructor(onText?: (text: string) => void, onClose = () => {}) {
    this.#onText = onText ?? ((text) => this.texts.push(text));
    this.#onClose = onClose;
  }

  /** Resolves when somebody is signed in. */
  static async open(url: string, token: string): Promise<RawWsClient> {
    const client = await RawWsClient.connect(url, { authorization: `Bearer ${token}` });
    await until('the sign-in', () => client.messages.some(({ op }) => op === 'auth'));
    return client;
  }

  /**
   * Resolves when connected; what is sent before the server has agreed waits for that. A refused connection is one that is closed.
   * @param onText gets each message; without it {@link texts} keeps them
   */
  static async connect(
    url: string,
    headers: Record<string, string> = {},
    onText?: (text: string) => void,
    onClose?: () => void,
  ): Promise<RawWsClient> {
    const { hostname, port } = new URL(url);
    const client = new RawWsClient(onText, onClose);
    const end = () => client.#end();
    try {
      client.#socket = await Bun.connect({
        hostname,
        port: Number(port),
        socket: {
          data: (_, bytes) => {
            client.#take(bytes);
            client.#rest();
          },
          drain: () => client.#write(),
          ...{ close: end, end, error: end, connectError: end },
        },
      });
    } catch {
      end(); // The node is down.
    }
    client.#socket?.write(
      [
        'GET /api/v1/ws HTTP/1.1',
        `host: ${hostname}:${port}`,
        'upgrade: websocket',
        'connection: Upgrade',
        'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-version: 13',
        ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
        '\r\n',
      ].join('\r\n'),
    );
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
    if (this.#unsent.length > 0 && this.#isOpen && !this.closed)
      this.#unsent = this.#unsent.subarray(Math.max(0, this.#socket?.write(this.#unsent) ?? 0));
  }

  pause(): void {
    if (!this.closed) this.#socket?.pause();
  }

  resume(): void {
    if (!this.closed) this.#socket?.resume();
  }

  /** Reads slowly from now on: once in so many milliseconds. */
  trickle(pauseMs: number): void {
    this.#pauseMs = pauseMs;
    this.resume();
  }

  /** Goes away without a word. What had arrived and was not read is not read. */
  close(): void {
    this.#end();
    this.#socket?.terminate();
  }

  #end(): void {
    if (this.closed) return;
    this.closed = true;
    this.#onClose();
  }

  #rest(): void {
    if (this.#pauseMs === 0) return;
    this.pause();
    setTimeout(() => this.resume(), this.#pauseMs);
  }

  #take(bytes: Buffer): void {
    if (this.closed) return;
    this.received += bytes.length;
    this.#bytes = this.#bytes.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#bytes, bytes]);
    if (!this.#isOpen) {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end === -1) return;
      if (!this.#bytes.toString('latin1', 0, 12).endsWith('101')) return this.close();
      this.#isOpen = true;
      this.#bytes = this.#bytes.subarray(end + 4);
      this.#write();
    }
    while (!this.closed && this.#readMessage());
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
    if (opcode === 1) this.#onText(this.#bytes.toString('utf8', head, head + length));
    if (opcode === 8) {
      if (length > 1) this.closeCode = this.#bytes.readUInt16BE(head);
      this.close();
    }
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
