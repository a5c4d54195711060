import { until } from './until.ts';

/** A frame as a client reads it. */
export interface ReceivedFrame {
  /** The last event id after this frame. */
  readonly id: string;
  /** `message` when the frame has no name. */
  readonly event: string;
  readonly data: string;
}

/** A client of a stream that keeps everything it gets. Parses as WHATWG HTML §9.2.6 says. */
export class SseClient {
  readonly frames: ReceivedFrame[] = [];
  readonly comments: string[] = [];
  response: Response | undefined;
  /** Every `retry:`, in milliseconds. */
  readonly retries: number[] = [];
  lastId = '';
  /** How the stream ended: by a finished answer, or in the middle. */
  end: 'finished' | 'cut' | undefined;
  readonly #abort = new AbortController();
  #paused: Promise<void> | undefined;
  #resume = () => {};
  #buffer = '';
  #fields = { event: '', data: [] as string[] };

  /** Connects; resolves when the headers are there. Reading goes on by itself unless the answer is not 200. */
  static async open(url: string, init: { token?: string; lastId?: string; headers?: Record<string, string> } = {}) {
    const client = new SseClient();
    const headers = new Headers(init.headers);
    if (init.token !== undefined) headers.set('authorization', `Bearer ${init.token}`);
    if (init.lastId !== undefined) {
      headers.set('last-event-id', init.lastId);
      client.lastId = init.lastId;
    }
    client.response = await fetch(url, { headers, signal: client.#abort.signal });
    if (client.response.status === 200) void client.#read(client.response);
    return client;
  }

  get status(): number {
    return this.response?.status ?? 0;
  }

  /** The last `retry:`. */
  get retry(): number | undefined {
    return this.retries.at(-1);
  }

  get ended(): boolean {
    return this.end !== undefined;
  }

  /** Frames of a name. */
  named(event: string): ReceivedFrame[] {
    return this.frames.filter((frame) => frame.event === event);
  }

  /** Stops taking bytes from the socket. */
  pause(): void {
    this.#paused ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  resume(): void {
    this.#paused = undefined;
    this.#resume();
  }

  async untilFrames(count: number, limitMs?: number): Promise<void> {
    await until(`${count} frames (have ${this.frames.length})`, () => this.frames.length >= count, limitMs);
  }

  async untilEvent(event: string): Promise<ReceivedFrame> {
    return until(`an event ${event}`, () => this.named(event).at(-1));
  }

  async untilEnded(): Promise<void> {
    await until('the end of the stream', () => this.ended);
  }

  close(): void {
    this.resume();
    this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    const decoder = new TextDecoder();
    try {
      const reader = response.body?.getReader();
      for (;;) {
        await this.#paused;
        const chunk = await reader?.read();
        if (chunk === undefined || chunk.done) break;
        this.#parse(decoder.decode(chunk.value, { stream: true }));
      }
      this.end = 'finished';
    } catch {
      // By the test, or by the server that it kills.
      this.end = 'cut';
    }
  }

  #parse(text: string): void {
    const lines = (this.#buffer + text).split(/\r\n|\r|\n/);
    this.#buffer = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) {
      this.comments.push(line.slice(1).trim());
      return;
    }
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') this.#fields.event = value;
    else if (name === 'data') this.#fields.data.push(value);
    else if (name === 'id' && !value.includes('\0')) this.lastId = value;
    else if (name === 'retry') this.retries.push(Number(value));
  }

  #dispatch(): void {
    const { event, data } = this.#fields;
    this.#fields = { event: '', data: [] };
    if (data.length > 0) this.frames.push({ id: this.lastId, event: event || 'message', data: data.join('\n') });
  }
}
