/**
 * Where a connection's bytes go: SSE now, a WebSocket next. It has no queue of its own; what it cannot take the
 * connection keeps as a cursor.
 */
export interface Transport {
  /** False from the moment that the client's side is full until it has drained. Do not write meanwhile. */
  readonly writable: boolean;
  /** Sends the pieces as one write. Only while {@link writable}. */
  write(chunks: readonly Uint8Array[]): void;
  /** Called once after each time that it became writable again. */
  onDrain: () => void;
  /** Ends the stream after what was written: the client sees a finished answer and reconnects. */
  end(): void;
  /** Drops the stream at once, whatever the client has not taken. */
  abort(): void;
}
