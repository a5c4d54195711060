import { Elysia } from 'elysia';
import { AppError } from '../errors.ts';

export const PAGE_PATH = '/openapi';
export const DOCUMENT_PATH = `${PAGE_PATH}/json`;

const ASSETS = `${PAGE_PATH}/assets/`;

/** Swagger UI sets styles of elements; scripts come from this origin alone. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "form-action 'none'",
].join('; ');

const HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
  'content-security-policy': CONTENT_SECURITY_POLICY,
};

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>decnet-live: the API</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="${ASSETS}swagger-ui.css">
  </head>
  <body>
    <div id="api"></div>
    <script src="${ASSETS}swagger-ui-bundle.js"></script>
    <script src="${ASSETS}start.js"></script>
  </body>
</html>
`;

// No validator: it would ask a service of others about this document.
const START = `SwaggerUIBundle({ url: '${DOCUMENT_PATH}', dom_id: '#api', deepLinking: true, validatorUrl: null });\n`;

const SCRIPT = 'text/javascript; charset=utf-8';
const STYLES = 'text/css; charset=utf-8';

/** What the page is made of. Swagger UI comes from its npm package, which is on this machine: no network of others is asked. */
const FILES: Readonly<Record<string, { readonly type: string; body(): string | Bun.BunFile }>> = {
  'start.js': { type: SCRIPT, body: () => START },
  'swagger-ui-bundle.js': { type: SCRIPT, body: () => packaged('swagger-ui-bundle.js') },
  'swagger-ui.css': { type: STYLES, body: () => packaged('swagger-ui.css') },
};

/** Found when it is asked for: a process that nobody asks for the page does not need the package. */
function packaged(name: string): Bun.BunFile {
  return Bun.file(Bun.resolveSync(`swagger-ui-dist/${name}`, import.meta.dir));
}

/** `/openapi`: the document, to be read and tried in a browser. */
export function documentPage() {
  return new Elysia({ name: 'openapi-page' })
    .get(PAGE_PATH, () => new Response(PAGE, { headers: { ...HEADERS, 'content-type': 'text/html; charset=utf-8' } }))
    .get(`${ASSETS}*`, ({ params }) => {
      const file = Object.hasOwn(FILES, params['*']) ? FILES[params['*']] : undefined;
      if (file === undefined) throw new AppError('not_found', 'Not Found');
      return new Response(file.body(), { headers: { ...HEADERS, 'content-type': file.type } });
    });
}
