import { until } from './until.ts';

/** A frame of a stream, parts put together. */
export interface WsFrame {
  readonly sid: string;
  readonly event?: string;
  readonly id?: string;
  // biome-ignore lint/suspicious/noExplicitAny: what a test expects of it, the test says
  readonly data: any;
}

/** Anything else that the server says. */
export interface WsAnswer {
  readonly op: string;
  readonly [name: string]: unknown;
}

/** A client of the WebSocket bridge that keeps everything it gets, written from the README alone. */
export class WsClient {
  readonly frames: WsFrame[] = [];
  readonly answers: WsAnswer[] = [];
  /** Texts of all messages, as they came. */
  readonly texts: string[] = [];
  closed: { readonly code: number; readonly reason: string } | undefined;
  readonly #socket: WebSocket;
  readonly #parts = new Map<string, string>();
  #refs = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(String(data));
    socket.onclose = ({ code, reason }) => {
      this.closed = { code, reason };
    };
  }

  /** @param url of the node; resolves when the server has said hello, or has refused */
  static async open(url: string, init: { token?: string; headers?: Record<string, string>; query?: string } = {}) {
    const { token, headers, query = '' } = init;
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const address = `${url.replace('http', 'ws')}/api/v1/ws${query}`;
    const client = new WsClient(new WebSocket(address, { headers: { ...authorization, ...headers } }));
    await until('an answer to the handshake', () => client.answers.length > 0 || client.closed !== undefined);
    if (token !== undefined) await client.untilAnswer('auth');
    return client;
  }

  send(message: object | string): void {
    this.#socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  /** Sends a message and waits for what is said to it. */
  async ask(message: object): Promise<WsAnswer> {
    this.#refs += 1;
    const ref = this.#refs;
    this.send({ ...message, ref });
    return until(`an answer to ${JSON.stringify(message).slice(0, 80)}`, () =>
      this.answers.find((answer) => answer.ref === ref),
    );
  }

  subscribe(sid: string, stream: string, cursor?: string): Promise<WsAnswer> {
    return this.ask({ op: 'subscribe', sid, stream, ...(cursor === undefined ? {} : { cursor }) });
  }

  of(sid: string): WsFrame[] {
    return this.frames.filter((frame) => frame.sid === sid);
  }

  named(sid: string, event: string): WsFrame[] {
    return this.of(sid).filter((frame) => frame.event === event);
  }

  untilEvent(sid: string, event: string): Promise<WsFrame> {
    return until(`a frame ${event} of ${sid}`, () => this.named(sid, event).at(-1));
  }

  untilAnswer(op: string): Promise<WsAnswer> {
    return until(`a message ${op}`, () => this.answers.find((answer) => answer.op === op));
  }

  untilClosed(): Promise<{ code: number; reason: string }> {
    return until('the socket to close', () => this.closed);
  }

  close(): void {
    this.#socket.close();
  }

  #take(text: string): void {
    this.texts.push(text);
    const message = JSON.parse(text);
    if (message.op !== undefined) this.answers.push(message);
    else if (message.part === undefined) this.#frame(message);
    else {
      const whole = (this.#parts.get(message.sid) ?? '') + message.part;
      this.#parts.set(message.sid, message.more ? whole : '');
      if (!message.more) this.#frame({ sid: message.sid, ...JSON.parse(whole) });
    }
  }

  #frame(frame: WsFrame): void {
    if (frame.event === 'end') this.#parts.delete(frame.sid);
    this.frames.push(frame);
  }
}
