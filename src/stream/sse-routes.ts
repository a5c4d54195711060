import { Elysia } from 'elysia';
import type { StreamAuthenticator } from '../auth/stream-auth.ts';
import type { Connection } from './connection.ts';
import type { StreamDeclaration } from './declaration.ts';
import { openDeclared } from './open-declared.ts';
import { streamOperation } from './schemas.ts';
import type { Peer } from './socket-progress.ts';
import { sseFraming } from './sse-framing.ts';
import { SseTransport } from './sse-transport.ts';
import { type Admission, resumptionOf, type Streams } from './streams.ts';

export interface SseRouteParts {
  readonly streams: Streams;
  readonly authenticator: Pick<StreamAuthenticator, 'authenticateStream'>;
  /** Milliseconds; told to clients that are sent away. */
  readonly retryMs: number;
}

/** What a stream needs of Bun's server. */
interface SocketControl {
  /** Lifts the server's idle timeout off a request: a quiet stream is no dead one. */
  timeout(request: Request, seconds: number): void;
  /** `null` for a request that has no socket any more, or not one of TCP. */
  requestIP(request: Request): { readonly address: string; readonly port: number } | null;
  readonly port?: number | undefined;
}

/** `GET <path>` for each declared stream, as server-sent events. */
export function sseRoutes(declarations: readonly StreamDeclaration[], parts: SseRouteParts) {
  const app = new Elysia({ name: 'sse-routes' });
  for (const declaration of declarations) {
    app.get(
      declaration.path,
      ({ request, params, server }) => openStream(declaration, idOf(params), request, server, parts),
      streamOperation(declaration),
    );
  }
  return app;
}

/** Everything that can be refused is refused here, as JSON, before the response starts: 401, 403, 422, 404, 429, 503. */
async function openStream(
  declaration: StreamDeclaration,
  id: string,
  request: Request,
  server: SocketControl | null,
  { streams, authenticator, retryMs }: SseRouteParts,
): Promise<Response> {
  // Elysia serves HEAD by the GET handler; a stream without a body would never be closed.
  if (request.method !== 'GET') {
    return Response.json({ detail: 'Method Not Allowed' }, { status: 405, headers: { allow: 'GET' } });
  }
  // A native EventSource gives up for good on any status but 200; this one it retries, elsewhere or later.
  if (streams.draining) return sse(sseFraming.farewell(retryMs));
  const heard = streams.revocations;
  const { principal, setCookie } = await authenticator.authenticateStream(request);
  const query = new URL(request.url).searchParams;
  const resumption = resumptionOf(request.headers, query);
  const admission = await openDeclared(streams, { principal, heard }, { declaration, id, query, resumption });

  server?.timeout(request, 0);
  return sse(bodyOf(admission, new SseTransport(streams.stalls, peerOf(request, server))), setCookie);
}

/** The other side of a request's socket, where it is one of TCP. */
export function peerOf(request: Request, server: SocketControl | null): Peer | undefined {
  const client = server?.requestIP(request);
  const localPort = server?.port;
  return client && localPort !== undefined ? { address: client.address, port: client.port, localPort } : undefined;
}

/** Apart from the request's scope: an open stream must not keep the request, its headers and its query alive. */
function bodyOf(admitted: Admission, transport: SseTransport): ReadableStream {
  let admission: Admission | undefined = admitted;
  let connection: Connection | undefined;
  return transport.body(
    () => {
      connection = admission?.start(transport);
      admission = undefined;
    },
    () => {
      // A client that went before its stream began leaves its slot.
      void admission?.abandon();
      connection?.close('gone');
    },
  );
}

function sse(body: ReadableStream | Uint8Array, setCookie?: string): Response {
  const headers = new Headers({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  if (setCookie !== undefined) headers.set('set-cookie', setCookie);
  return new Response(body, { headers });
}

/** @param params absent on a path without any, whatever Elysia's types say */
function idOf(params: Readonly<Record<string, string | undefined>> | undefined): string {
  return params?.id ?? '';
}
