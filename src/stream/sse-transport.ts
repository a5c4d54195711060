import type { Peer } from './socket-progress.ts';
import type { Blockable, StallWatch } from './stall-watch.ts';
import type { Transport } from './transport.ts';

/** The part of Bun's direct stream controller that is used here; Bun's types leave the promises out. */
interface DirectController {
  write(chunk: Uint8Array): number | Promise<number>;
  flush(): unknown;
  close(error?: Error): void;
}

/** Given to the socket at once. Bun copies what the kernel does not take, so this is what a blocked client costs. */
const PIECE_BYTES = 64 * 1024;
const NOTHING: readonly Uint8Array[] = [];

/**
 * A response body that a connection writes to. Built on Bun's direct stream: `write` answers a number while the socket
 * takes the bytes and a promise when it does not; the promise resolves when it has drained. What is written before that is
 * buffered without a bound, so nothing is.
 */
export class SseTransport implements Transport, Blockable {
  readonly peer: Peer | undefined;
  readonly #stalls: StallWatch;
  #controller: DirectController | undefined;
  /** What was written and not yet given to the socket: from `#at` on in the chunk `#index`. */
  #chunks = NOTHING;
  #index = 0;
  #at = 0;
  #full = false;
  #closed = false;
  #onFinished: (() => void) | undefined;
  #finish = () => {};
  #onGone = () => {};
  onDrain = () => {};

  /** @param peer the other side of the socket, where it is known: its progress can be seen in more detail then */
  constructor(stalls: StallWatch, peer: Peer | undefined) {
    this.#stalls = stalls;
    this.peer = peer;
  }

  /**
   * @param onOpen called when the client's side is there; writing may begin
   * @param onClose called at least once when the client has gone
   */
  body(onOpen: () => void, onClose: () => void): ReadableStream {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    this.#onGone = onClose;
    const source = {
      type: 'direct' as const,
      pull: (controller: DirectController) => {
        if (this.#closed) return Promise.resolve();
        this.#controller = controller;
        onOpen();
        return finished;
      },
      cancel: () => {
        this.#release();
        onClose();
      },
    };
    return new ReadableStream(source);
  }

  get writable(): boolean {
    return !this.#full && !this.#closed && this.#controller !== undefined;
  }

  write(chunks: readonly Uint8Array[]): void {
    this.#chunks = chunks;
    this.#pump();
  }

  end(last: Uint8Array, onFinished: () => void): void {
    if (this.#closed) return onFinished();
    this.#onFinished = onFinished;
    if (this.#full) this.#chunks = [...this.#chunks, last];
    else this.write([last]);
    // Closed while the socket is full, a stream whose client takes nothing would never go away.
    if (!this.#full) this.#close();
  }

  abort(): void {
    // With an error Bun drops the socket instead of waiting for the client to take the rest.
    this.#close(new Error('the stream was dropped'));
  }

  drop(): void {
    this.abort();
    this.#onGone();
  }

  /** Gives the socket what it takes. */
  #pump(): void {
    const controller = this.#controller;
    if (controller === undefined || this.#closed) return;
    for (let chunk = this.#chunks[this.#index]; chunk !== undefined; chunk = this.#chunks[this.#index]) {
      const end = Math.min(chunk.length, this.#at + PIECE_BYTES);
      const piece = end - this.#at === chunk.length ? chunk : chunk.subarray(this.#at, end);
      const isLastOfChunk = end === chunk.length;
      this.#index += isLastOfChunk ? 1 : 0;
      this.#at = isLastOfChunk ? 0 : end;
      const result = controller.write(piece);
      if (typeof result === 'object') return this.#block(result);
    }
    this.#chunks = NOTHING;
    this.#index = 0;
    // The controller collects small pieces until the flush: one system call however many.
    controller.flush();
  }

  #block(drained: Promise<number>): void {
    this.#full = true;
    this.#stalls.add(this);
    // A rejected promise is a client that has gone: `cancel` says so.
    drained.then(this.#onDrained, this.#onDrained);
  }

  readonly #onDrained = () => {
    if (this.#closed) return;
    this.#stalls.delete(this);
    this.#full = false;
    this.#pump();
    if (this.#full) return;
    if (this.#onFinished === undefined) this.onDrain();
    else this.#close();
  };

  #close(error?: Error): void {
    if (this.#closed) return;
    this.#controller?.close(error);
    this.#release();
  }

  /** Nothing is sent from here on, and nothing kept for it. */
  #release(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#chunks = NOTHING;
    this.#stalls.delete(this);
    this.#finish();
    this.#onFinished?.();
  }
}
