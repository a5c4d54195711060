import { API_BASE, type Api, ApiError, messageOf } from './api.ts';
import { backoffMs, calmBackoffMs } from './backoff.ts';
import { CONTROL_NAMES, type Frame, readFrame } from './frame.ts';
import { type StreamChoice, streamUrl, withQuery } from './streams.ts';

/**
 * `cut`: the transport broke and the browser's `EventSource` reconnects by itself. `reconnecting`: the `EventSource` gave
 * up and the page opens a new one. `refused`: the user has too many streams open, and the page waits for a free slot.
 * `ended`: nobody tries any more.
 */
export type StreamState = 'connecting' | 'live' | 'cut' | 'reconnecting' | 'refused' | 'ended';

/** Out of its way back: something is broken, or somebody else is in its place. */
type Waiting = Extract<StreamState, 'reconnecting' | 'refused'>;

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

const EVICTED = 'You have too many streams open; another one took this tab’s slot.';
const REFUSED = 'You have too many streams open; no slot is free for this tab.';
const REMEDY = 'Close another tab to let this one in.';

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
        const frame = readFrame(name, message.lastEventId, message.data);
        this.#listener.frameArrived(frame);
        if (frame.control === 'evicted') this.#evicted();
      });
    }
  }

  /** The browser would ask again after a moment, and give up at the refusal. */
  #evicted(): void {
    this.#source?.close();
    this.#waitForSlot(EVICTED);
  }

  /** A browser hides why a stream was refused, so the page asks for itself. */
  async #refused(): Promise<void> {
    this.#source?.close();
    try {
      // Without a position, so that it cannot take the slot of another stream; it is for looking only.
      await this.#api.tryStream(withQuery(this.#choice.path, { once: '1' }));
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#retry('Your browser could not come back by itself, so the page does.');
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    const status = error instanceof ApiError ? error.status : 0;
    if ([401, 403, 404].includes(status)) this.#tell('ended', messageOf(error));
    else if (status === 429) this.#waitForSlot(REFUSED);
    else this.#retry(messageOf(error));
  }

  #retry(why: string): void {
    this.#failures += 1;
    this.#connectAfter(backoffMs(this.#failures), 'reconnecting', why, 'Asking for a fresh ticket …');
  }

  #waitForSlot(why: string): void {
    this.#failures += 1;
    const delay = calmBackoffMs(this.#failures);
    this.#connectAfter(delay, 'refused', `${why} ${REMEDY}`, 'Asking whether a slot is free …');
  }

  #connectAfter(delay: number, state: Waiting, why: string, then: string): void {
    if (this.#closed) return;
    this.#tell(state, `${why} Next attempt in ${Math.max(1, Math.round(delay / 1000))} s.`);
    this.#timer = setTimeout(() => {
      this.#tell(state, then);
      void this.#connect();
    }, delay);
  }

  #tell(state: StreamState, why: string): void {
    if (!this.#closed) this.#listener.stateChanged(state, why);
  }
}
