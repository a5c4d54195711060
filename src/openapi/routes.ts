import { openapi } from '@elysiajs/openapi';
import { Elysia } from 'elysia';
import { corrected, documentation, type GeneratedDocument, type Route } from './document.ts';
import { DOCUMENT_PATH, documentPage, PAGE_PATH } from './page.ts';

/** Pages, what they are made of, and the other document: no part of the API. */
const NOT_OF_THE_API = ['/', '/assets/*', `${PAGE_PATH}/assets/*`, PAGE_PATH, '/asyncapi'];

/**
 * `/openapi`, a page to read and try the API on, and `/openapi/json`, the document. It is made from the routes of the whole app
 * when the server starts, so that nobody waits for it; requests of other routes know nothing of it.
 */
export function openapiRoutes() {
  let routes: readonly Route[] = [];
  let text: string | undefined;
  return new Elysia({ name: 'openapi-routes' })
    .onStart((app) => {
      routes = app.routes;
      void app.handle(new Request(`http://localhost${DOCUMENT_PATH}`));
    })
    .onAfterHandle({ as: 'local' }, ({ path, responseValue }) => {
      if (path !== DOCUMENT_PATH || !isDocument(responseValue)) return undefined;
      text ??= JSON.stringify(corrected(responseValue, routes));
      return new Response(text, { headers: { 'content-type': 'application/json', 'cache-control': 'no-cache' } });
    })
    .use(
      openapi({
        provider: null,
        specPath: DOCUMENT_PATH,
        documentation,
        exclude: { methods: ['options', 'ws'], paths: NOT_OF_THE_API },
      }),
    )
    .use(documentPage());
}

function isDocument(value: unknown): value is GeneratedDocument {
  return typeof value === 'object' && value !== null && 'paths' in value;
}
