import { Elysia } from 'elysia';
import { readJsonBody } from './json-body.ts';

const JSON_TYPE = 'application/json';
/** Where forms with files are sent (contract §5.3 rule 1). */
const FILES = ['/api/v1/deckies/files', '/api/v1/canary/blobs'];
const UNSUPPORTED = 'Unsupported Media Type — Content-Type must be application/json';

/**
 * What holds for every request: JSON bodies only (contract §5.3 rule 1), of bounded depth, and CORS for the listed origins
 * (contract §4.6), on errors too.
 * @param origins exact origins that may read answers
 */
export function requestRules(origins: readonly string[]) {
  const allowed = new Set(origins);
  return new Elysia({ name: 'request-rules' })
    .onRequest(({ request, set }) => {
      const origin = request.headers.get('origin');
      // These are put on every answer: also on streams, errors and other responses made by hand.
      set.headers.vary = 'Origin';
      if (origin !== null && allowed.has(origin)) set.headers['access-control-allow-origin'] = origin;
      if (isPreflight(request)) return preflight(origin, allowed);
      if (hasForeignBody(request)) return plain(UNSUPPORTED, 415);
      return undefined;
    })
    .onParse({ as: 'global' }, ({ request, contentType }) => {
      // The type is written in any case (RFC 9110 §8.3.1). A request without a body is left to Elysia.
      const isJson = contentType.toLowerCase().startsWith(JSON_TYPE) && request.body !== null;
      return isJson ? readJsonBody(request) : undefined;
    });
}

function isPreflight(request: Request): boolean {
  return request.method === 'OPTIONS' && request.headers.has('access-control-request-method');
}

function preflight(origin: string | null, allowed: ReadonlySet<string>): Response {
  if (origin === null || !allowed.has(origin)) return plain('Disallowed CORS origin', 400);
  return plain('OK', 200, {
    'access-control-allow-origin': origin,
    'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, OPTIONS',
    'access-control-allow-headers': 'Authorization, Content-Type, Last-Event-ID',
    'access-control-max-age': '600',
    vary: 'Origin',
  });
}

/** The type is named: what an `onRequest` hook answers goes out as `application/octet-stream` otherwise. */
function plain(text: string, status: number, headers: Record<string, string> = {}): Response {
  return new Response(text, { status, headers: { 'content-type': 'text/plain; charset=utf-8', ...headers } });
}

function hasForeignBody(request: Request): boolean {
  if (!['POST', 'PUT', 'PATCH'].includes(request.method)) return false;
  const length = request.headers.get('content-length');
  const hasBody = request.headers.has('transfer-encoding') || (length !== null && length !== '0');
  const type = request.headers.get('content-type') ?? '';
  if (!hasBody || type.toLowerCase().startsWith(JSON_TYPE)) return false;
  const { pathname } = new URL(request.url);
  return !FILES.some((path) => pathname.startsWith(path));
}
