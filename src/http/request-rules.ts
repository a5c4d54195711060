import { cors } from '@elysiajs/cors';
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
  const isAllowed = (request: Request) => allowed.has(request.headers.get('origin') ?? '');
  return (
    new Elysia({ name: 'request-rules' })
      // It puts what is told of origins on every answer: also on streams, errors and other responses made by hand. Preflights are
      // answered below: the plugin takes every OPTIONS for one, and does not refuse those of strangers.
      .use(
        cors({
          origin: isAllowed,
          allowedHeaders: ['Authorization', 'Content-Type', 'Last-Event-ID'],
          // The second names what pages save.
          exposeHeaders: ['Retry-After', 'Content-Disposition'],
          methods: [],
          credentials: false,
          preflight: false,
        }),
      )
      .onRequest(({ request }) => {
        if (isPreflight(request))
          return isAllowed(request) ? plain('OK', 200, PREFLIGHT) : plain('Disallowed CORS origin', 400);
        if (hasForeignBody(request)) return plain(UNSUPPORTED, 415);
        return undefined;
      })
      .onParse({ as: 'global' }, ({ request, contentType }) => {
        // A request without a body is left to Elysia.
        return isJson(contentType) && request.body !== null ? readJsonBody(request) : undefined;
      })
  );
}

function isPreflight(request: Request): boolean {
  return request.method === 'OPTIONS' && request.headers.has('access-control-request-method');
}

const PREFLIGHT = {
  'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, OPTIONS',
  'access-control-max-age': '600',
};

/** The type is named: what an `onRequest` hook answers goes out as `application/octet-stream` otherwise. */
function plain(text: string, status: number, headers: Record<string, string> = {}): Response {
  return new Response(text, { status, headers: { 'content-type': 'text/plain; charset=utf-8', ...headers } });
}

function hasForeignBody({ method, headers, url }: Request): boolean {
  if (method !== 'POST' && method !== 'PUT' && method !== 'PATCH') return false;
  if (isJson(headers.get('content-type') ?? '')) return false;
  const length = headers.get('content-length');
  if (!headers.has('transfer-encoding') && (length === null || length === '0')) return false;
  const { pathname } = new URL(url);
  return !FILES.some((path) => pathname.startsWith(path));
}

/** The type is written in any case (RFC 9110 §8.3.1). */
function isJson(type: string): boolean {
  return type.startsWith(JSON_TYPE) || type.toLowerCase().startsWith(JSON_TYPE);
}
