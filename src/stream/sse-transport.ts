import type { Transport } from './transport.ts';

/** The part of Bun's direct stream controller that is used here; Bun's types leave `flush`'s promise out. */
interface DirectController {
  write(chunk: Uint8Array): number | Promise<number>;
  flush(): number | Promise<number> | undefined;
  close(error?: Error): void;
}

/**
 * A response body that a connection writes to. Built on Bun's direct stream: `write` and `flush` answer a number while
 * the socket takes the bytes and a promise when it does not; the promise resolves when it has drained.
 */
export class SseTransport implements Transport {
  #controller: DirectController | undefined;
  #full = false;
  #closed = false;
  #finish = () => {};
  onDrain = () => {};

  /**
   * @param onOpen called when the client's side is there; writing may begin
   * @param onClose called at least once when the client has gone
   */
  body(onOpen: () => void, onClose: () => void): ReadableStream {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    const gone = () => {
      this.#closed = true;
      this.#finish();
      onClose();
    };
    const source = {
      type: 'direct' as const,
      pull: (controller: DirectController) => {
        if (this.#closed) return Promise.resolve();
        this.#controller = controller;
        onOpen();
        return finished;
      },
      cancel: gone,
    };
    return new ReadableStream(source);
  }

  get writable(): boolean {
    return !this.#full && !this.#closed && this.#controller !== undefined;
  }

  write(chunks: readonly Uint8Array[]): void {
    const controller = this.#controller;
    if (controller === undefined || this.#closed) return;
    // The controller collects what is written until the flush: one system call however many pieces.
    for (const chunk of chunks) this.#watch(controller.write(chunk));
    this.#watch(controller.flush());
  }

  end(): void {
    this.#close();
  }

  abort(): void {
    // With an error Bun drops the socket instead of waiting for the client to take the rest.
    this.#close(new Error('the stream was dropped'));
  }

  #close(error?: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#controller?.close(error);
    this.#finish();
  }

  #watch(result: number | Promise<number> | undefined): void {
    if (typeof result !== 'object') return;
    this.#full = true;
    const drained = () => {
      if (!this.#full) return;
      this.#full = false;
      if (!this.#closed) this.onDrain();
    };
    // A rejected promise is a client that has gone: `cancel` says so.
    result.then(drained, drained);
  }
}
