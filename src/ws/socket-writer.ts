import type { Peer } from '../stream/socket-progress.ts';
import type { Blockable, StallWatch } from '../stream/stall-watch.ts';
import { WsTransport } from './ws-transport.ts';

/** The part of Bun's `ServerWebSocket` that is used here. */
export interface Socket {
  sendText(text: string): number;
  /** What is sent within goes out with as few system calls as can be. */
  cork<T>(send: () => T): T;
  /** Bytes that the kernel has not taken. */
  getBufferedAmount(): number;
  ping(): number;
  close(code: number, reason: string): void;
  terminate(): void;
}

/** Bytes of answers that may wait for a client which does not read them. Below Bun's own limit, where it would drop some. */
const MOST_UNREAD_BYTES = 4 * 1024 * 1024;

/**
 * What goes out on one WebSocket: the answers to its client and its streams, in turn. Bun copies what the kernel does not
 * take and would drop messages beyond a limit; so while there is any of it no stream sends, and each holds its cursor. A
 * client that then takes nothing is dropped.
 */
export class SocketWriter implements Blockable {
  readonly peer: Peer | undefined;
  readonly #socket: Socket;
  readonly #stalls: StallWatch;
  readonly #onFlood: () => void;
  /** Who was served longest ago comes first. */
  readonly #transports = new Set<WsTransport>();
  #said: string[] = [];
  #full = false;
  #closed = false;

  /**
   * @param peer the other side of the socket, where it is known
   * @param onFlood called when the client asks and asks and does not read the answers
   */
  constructor(socket: Socket, stalls: StallWatch, peer: Peer | undefined, onFlood: () => void) {
    this.#socket = socket;
    this.#stalls = stalls;
    this.peer = peer;
    this.#onFlood = onFlood;
  }

  /** False while the client's side is full. */
  get writable(): boolean {
    return !this.#full && !this.#closed;
  }

  /**
   * A way for one more stream.
   * @param sid what its client calls it
   * @param onEnd called once, when it has ended
   */
  open(sid: string, onEnd: () => void): WsTransport {
    const transport = new WsTransport(this, sid, () => {
      this.#transports.delete(transport);
      onEnd();
    });
    this.#transports.add(transport);
    return transport;
  }

  /** Sends a message of its own: before anything that is sent later, and with others of the same turn. */
  say(message: object): void {
    if (this.#closed) return;
    if (this.#said.length === 0) setImmediate(() => this.flush());
    this.#said.push(JSON.stringify(message));
  }

  /** Sends what was said. */
  flush(): void {
    if (this.#said.length === 0) return;
    this.send([]);
    if (!this.#closed && this.#socket.getBufferedAmount() > MOST_UNREAD_BYTES) this.#onFlood();
  }

  send(messages: readonly string[]): void {
    if (this.#closed) return;
    const said = this.#said;
    this.#said = [];
    this.#socket.cork(() => {
      for (const message of said) this.#socket.sendText(message);
      for (const message of messages) this.#socket.sendText(message);
    });
    if (this.#full || this.#socket.getBufferedAmount() === 0) return;
    this.#full = true;
    this.#stalls.add(this);
  }

  /** The client's side has room: who waits goes on, each with a piece in its turn. */
  drained(): void {
    if (this.#closed || !this.#full || this.#socket.getBufferedAmount() > 0) return;
    this.#full = false;
    this.#stalls.delete(this);
    // Whoever is put back at the end comes again in this loop.
    for (const transport of this.#transports) {
      if (!this.writable) return;
      if (!transport.hasMore) continue;
      this.#toTheEnd(transport);
      transport.sendPiece();
    }
    for (const transport of [...this.#transports]) {
      if (!transport.writable) continue;
      this.#toTheEnd(transport);
      transport.onDrain();
    }
  }

  #toTheEnd(transport: WsTransport): void {
    this.#transports.delete(transport);
    this.#transports.add(transport);
  }

  /** Keeps proxies from giving a quiet socket up, and finds out that its other side has gone. */
  ping(): void {
    if (this.writable) this.#socket.ping();
  }

  drop(): void {
    this.#socket.terminate();
  }

  /** The socket is no more. */
  close(): void {
    this.#closed = true;
    this.#said = [];
    this.#stalls.delete(this);
  }
}
