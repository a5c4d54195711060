import { RawWsClient } from '../support/raw-ws-client.ts';
import type { Line, OnFrame, Way } from './line.ts';

/** An error of the protocol says what HTTP would say, behind a four. */
const FIRST_CODE = 4000;

interface Message {
  readonly op?: string;
  readonly re?: string;
  readonly sid?: string;
  readonly code?: number;
}

/** A WebSocket that several clients share: each has its own stream on it, and its own cursor. */
export class Carrier implements Way {
  readonly name: string;
  readonly #token: string;
  #session: Promise<Session> | undefined;
  #sids = 0;

  constructor(name: string, token: string) {
    this.name = name;
    this.#token = token;
  }

  /** Where the socket is open the stream is one more on it, wherever that leads. */
  async open(url: string, path: string, cursor: string, onFrame: OnFrame): Promise<Line> {
    const known = this.#session;
    const isOpen = (await known)?.socket.closed === false;
    // Unless somebody else has been quicker.
    if (!isOpen && this.#session === known) this.#session = Session.open(url, this.#token);
    const session = await (this.#session ?? Session.open(url, this.#token));
    this.#sids += 1;
    return session.subscribe(`stream ${this.#sids}`, path, cursor, onFrame);
  }
}

/** One life of the socket. */
class Session {
  readonly socket: RawWsClient;
  readonly #lines: Map<string, SocketLine>;
  #leaves = 0;

  private constructor(socket: RawWsClient, lines: Map<string, SocketLine>) {
    this.socket = socket;
    this.#lines = lines;
  }

  static async open(url: string, token: string): Promise<Session> {
    const lines = new Map<string, SocketLine>();
    const socket: RawWsClient = await RawWsClient.connect(url, {}, (text) => take(socket, lines, JSON.parse(text)));
    // Nobody waits for the answer: messages are looked at in order.
    socket.send({ op: 'auth', token });
    return new Session(socket, lines);
  }

  subscribe(sid: string, path: string, cursor: string, onFrame: OnFrame): Line {
    this.socket.resume();
    const line = new SocketLine(this.socket, onFrame, () => this.#leave(sid));
    this.#lines.set(sid, line);
    this.socket.send({ op: 'subscribe', sid, stream: path, ...(cursor === '' ? {} : { cursor }) });
    return line;
  }

  /** Every other time the socket goes, with all that it carries. */
  #leave(sid: string): void {
    this.#lines.delete(sid);
    this.#leaves += 1;
    if (this.#leaves % 2 === 0) this.socket.close();
    else this.socket.send({ op: 'unsubscribe', sid });
  }
}

function take(socket: RawWsClient, lines: ReadonlyMap<string, SocketLine>, message: Message & SocketFrame): void {
  const { op, re, sid = '', code = 0 } = message;
  if (op === undefined) return lines.get(sid)?.take(message);
  if (op === 'subscribed') return lines.get(sid)?.answered(200);
  // It had ended by itself, and its end was under way.
  if (op !== 'error' || re === 'unsubscribe') return;
  const status = code - FIRST_CODE;
  // Where nobody is signed in, nothing can be had: what is asked meanwhile is told so, too.
  if (re === 'subscribe' && status !== 401) return lines.get(sid)?.answered(status);
  for (const line of lines.values()) line.answered(status);
  socket.close();
}

/** Codes with which a socket may end while nodes die and restart. */
const FINE_CODES = [0, 1001, 1012];

class SocketLine implements Line {
  readonly #socket: RawWsClient;
  readonly #onFrame: OnFrame;
  readonly #onLeave: () => void;
  #status = 0;
  #isOver = false;
  #part = '';

  constructor(socket: RawWsClient, onFrame: OnFrame, onLeave: () => void) {
    this.#socket = socket;
    this.#onFrame = onFrame;
    this.#onLeave = onLeave;
  }

  get status(): number {
    const { closeCode } = this.#socket;
    return FINE_CODES.includes(closeCode) ? this.#status : closeCode - FIRST_CODE;
  }

  get ended(): boolean {
    return this.#isOver || this.#socket.closed;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  vanish(): void {
    if (this.ended) return;
    this.#isOver = true;
    this.#onLeave();
  }

  answered(status: number): void {
    this.#status = status;
    this.#isOver ||= status !== 200;
  }

  /** A frame, or a part of one that is large. */
  take({ id, event, data, part, more }: SocketFrame): void {
    if (this.ended) return;
    this.#part += part ?? '';
    if (part !== undefined) {
      if (more) return;
      const whole: SocketFrame = JSON.parse(this.#part);
      this.#part = '';
      return this.take(whole);
    }
    if (event === 'end') this.#isOver = true;
    else this.#onFrame({ id, event: event ?? 'message', data: JSON.stringify(data) });
  }
}

interface SocketFrame {
  readonly id: string | undefined;
  readonly event?: string;
  readonly data: unknown;
  readonly part?: string;
  readonly more?: boolean;
}
