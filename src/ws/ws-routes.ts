import { Elysia } from 'elysia';
import { AppError } from '../errors.ts';
import { inSlices } from '../stream/slices.ts';
import type { Peer } from '../stream/socket-progress.ts';
import { peerOf } from '../stream/sse-routes.ts';
import type { Socket } from './socket-writer.ts';
import { wsOperations } from './ws-schemas.ts';
import { type WsParts, WsSession } from './ws-session.ts';

/**
 * For `new Elysia({ websocket })`: limits of a route are ignored. Bun's own idle timeout would end a client that takes some
 * megabytes slowly, because it does not get to answer a ping before; {@link WsSockets} pings and the stall watch drops.
 * @param maxMessageBytes of one message; a larger one closes the socket with 1009
 */
export function websocketOptions(maxMessageBytes: number) {
  return { maxPayloadLength: maxMessageBytes, idleTimeout: 0, perMessageDeflate: false };
}

/** All WebSockets of this process. */
export class WsSockets {
  readonly #parts: WsParts;
  readonly #sessions = new Set<WsSession>();
  #pings: Timer | undefined;

  constructor(parts: WsParts) {
    this.#parts = parts;
  }

  /** @param pingMs milliseconds between two pings, for proxies that end what is quiet */
  start(pingMs: number): void {
    this.#pings = setInterval(() => void inSlices(this.#sessions, (session) => session.ping()), pingMs);
  }

  open(socket: Socket, peer: Peer | undefined, request: Request): SocketHandlers {
    const session = new WsSession(socket, peer, this.#parts);
    this.#sessions.add(session);
    session.start(request);
    return {
      message: (_, message) => (typeof message === 'string' ? session.receive(message) : session.receiveBytes()),
      drain: () => session.drained(),
      close: () => {
        this.#sessions.delete(session);
        session.closed();
      },
    };
  }

  /** Ends every socket with a `bye` and a close code that says: come back. */
  async drain(): Promise<void> {
    clearInterval(this.#pings);
    const ends: Promise<void>[] = [];
    await inSlices(this.#sessions, (session) => ends.push(session.drain()));
    await Promise.all(ends);
  }
}

/** What Elysia calls for a socket, found in its data. */
interface SocketHandlers {
  message(socket: unknown, message: unknown): void;
  drain(): void;
  close(): void;
}

/**
 * `GET /ws`: the WebSocket bridge.
 * @param origins exact origins whose pages may open a socket, beside this server's own: a browser does not ask before
 */
export function wsRoutes(sockets: WsSockets, origins: readonly string[]) {
  const allowed = new Set(origins);
  return new Elysia({ name: 'ws-routes' })
    .get(
      '/ws',
      () =>
        Response.json(
          { detail: 'This is a WebSocket; open it with the scheme ws or wss' },
          { status: 426, headers: { upgrade: 'websocket' } },
        ),
      wsOperations.open,
    )
    .derive(({ request, server }) => ({ peer: peerOf(request, server) }))
    .ws('/ws', {
      // Runs twice on an upgrade: it only looks.
      beforeHandle: ({ request }) => assertOrigin(request, allowed),
      open(ws) {
        const { request, peer } = ws.data;
        const socket: { data: unknown } = ws.raw;
        if (!isSocket(socket)) throw new Error('not a socket of Bun');
        // From here on messages come as they are: Elysia would parse them first, however deep they nest.
        socket.data = sockets.open(socket, peer, request);
      },
    });
}

/** Elysia's type of it leaves out what tells of a full socket. */
function isSocket<T extends object>(raw: T): raw is T & Socket {
  return 'getBufferedAmount' in raw && 'cork' in raw;
}

/** @throws {AppError} `forbidden` for a page of another site: it would act for whoever looks at it (RFC 6455 §10.2) */
function assertOrigin(request: Request, allowed: ReadonlySet<string>): void {
  const origin = request.headers.get('origin');
  // Browsers always say; what says nothing is no page.
  if (origin === null || allowed.has(origin)) return;
  const host = URL.canParse(origin) ? new URL(origin).host : '';
  if (host !== '' && host === request.headers.get('host')) return;
  throw new AppError('forbidden', 'Pages of this origin may not open a WebSocket; see DECNET_CORS_ORIGINS');
}
