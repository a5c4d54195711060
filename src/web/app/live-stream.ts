import { API_BASE, type Api, ApiError, messageOf } from './api.ts';
import { backoffMs } from './backoff.ts';
import { CONTROL_NAMES, type Frame, readFrame } from './frame.ts';
import { type StreamChoice, streamUrl } from './streams.ts';

/**
 * `cut`: the transport broke and the browser's `EventSource` reconnects by itself. `reconnecting`: the `EventSource` gave
 * up and the page opens a new one. `ended`: nobody tries any more.
 */
export type StreamState = 'connecting' | 'live' | 'cut' | 'reconnecting' | 'ended';

/** What a stream tells about itself. */
export interface StreamListener {
  /** @param why a sentence for the user */
  stateChanged(state: StreamState, why: string): void;
  frameArrived(frame: Frame): void;
  /** @returns the id to go on from when the page itself has to reconnect */
  position(): string | undefined;
}

const WHY: Readonly<Record<'connecting' | 'live' | 'cut', string>> = {
  connecting: 'Opening the stream …',
  live: 'Events arrive as they happen.',
  cut: 'The connection is gone. Your browser reconnects by itself and says which id it saw last.',
};

/**
 * One stream, kept open: by the native `EventSource` where that reconnects, and with a fresh ticket where it has given
 * up. Either way it goes on after the last id.
 */
export class LiveStream {
  readonly #api: Api;
  readonly #choice: StreamChoice;
  readonly #listener: StreamListener;
  #source: EventSource | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;

  constructor(api: Api, choice: StreamChoice, listener: StreamListener) {
    this.#api = api;
    this.#choice = choice;
    this.#listener = listener;
  }

  /** Opens the stream; call once. */
  open(): void {
    this.#tell('connecting', WHY.connecting);
    void this.#connect();
  }

  /** Ends the stream for good; nothing is told after it. May be called again. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  async #connect(): Promise<void> {
    try {
      const ticket = await this.#api.mintTicket();
      if (!this.#closed) this.#listen(streamUrl(API_BASE, this.#choice, ticket, this.#listener.position()));
    } catch (error) {
      this.#failed(error);
    }
  }

  #listen(url: string): void {
    const source = new EventSource(url);
    this.#source = source;
    source.onopen = () => this.#tell('live', WHY.live);
    source.onerror = () => {
      if (source.readyState === EventSource.CONNECTING) this.#tell('cut', WHY.cut);
      else void this.#refused();
    };
    for (const name of [...CONTROL_NAMES, ...this.#choice.eventNames]) {
      source.addEventListener(name, (message: MessageEvent<string>) => {
        this.#failures = 0;
        this.#listener.frameArrived(readFrame(name, message.lastEventId, message.data));
      });
    }
  }

  /** A browser hides why a stream was refused, so the page finds out what it can. */
  async #refused(): Promise<void> {
    this.#source?.close();
    const { topologyId } = this.#choice;
    try {
      if (topologyId !== undefined) await this.#api.topologyNames(topologyId);
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#retry('The server refused the stream; most likely you have too many open (close other tabs).');
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    const isFinal = error instanceof ApiError && [401, 403, 404].includes(error.status);
    if (isFinal) this.#tell('ended', messageOf(error));
    else this.#retry(messageOf(error));
  }

  #retry(why: string): void {
    if (this.#closed) return;
    this.#failures += 1;
    const delay = backoffMs(this.#failures);
    this.#tell('reconnecting', `${why} Next attempt in ${Math.max(1, Math.round(delay / 1000))} s.`);
    this.#timer = setTimeout(() => {
      this.#tell('reconnecting', 'Asking for a fresh ticket …');
      void this.#connect();
    }, delay);
  }

  #tell(state: StreamState, why: string): void {
    if (!this.#closed) this.#listener.stateChanged(state, why);
  }
}
