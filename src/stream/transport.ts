/**
 * Where a connection's bytes go: SSE now, a WebSocket next. It takes one portion of any size and hands it to the socket
 * piece by piece; it never has a second one. What it cannot take the connection keeps as a cursor.
 */
export interface Transport {
  /** False from the moment that the client's side is full until it has taken all that was written. */
  readonly writable: boolean;
  /** Sends the chunks one behind the other. They are not copied and must not change. Only while {@link writable}. */
  write(chunks: readonly Uint8Array[]): void;
  /** Called once after each time that it became writable again. Never after {@link end} or {@link abort}. */
  onDrain: () => void;
  /**
   * Ends the stream after everything that was written: the client sees a finished answer. Also while not writable: it
   * takes as long as the client goes on to take bytes.
   * @param last sent before the end
   * @param onFinished called once, when the socket has taken everything or the client has gone
   */
  end(last: Uint8Array, onFinished: () => void): void;
  /** Drops the stream at once, whatever the client has not taken. */
  abort(): void;
}
