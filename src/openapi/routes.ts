import { openapi } from '@elysiajs/openapi';
import { Elysia } from 'elysia';
import { corrected, documentation } from './document.ts';
import { DOCUMENT_PATH, documentPage, PAGE_PATH } from './page.ts';

/** Paths that are no part of the API: pages, and what they are made of. The document leaves them out. */
const STATIC = ['/', '/assets/*', `${PAGE_PATH}/assets/*`, PAGE_PATH, '/asyncapi'];

/**
 * `/openapi`, a page to read and try the API on, and `/openapi/json`, the document: made from the routes of the whole app when
 * it is first asked for, whatever is added to it before or after.
 */
export function openapiRoutes() {
  return new Elysia({ name: 'openapi-routes' })
    .onAfterHandle({ as: 'local' }, ({ path, responseValue }) =>
      path === DOCUMENT_PATH && isDocument(responseValue) ? Response.json(corrected(responseValue)) : undefined,
    )
    .use(
      openapi({
        provider: null,
        specPath: DOCUMENT_PATH,
        documentation,
        exclude: { methods: ['options', 'ws'], paths: STATIC },
      }),
    )
    .use(documentPage());
}

type Document = Parameters<typeof corrected>[0];

function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && 'paths' in value;
}
