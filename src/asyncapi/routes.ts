import { Elysia } from 'elysia';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { asyncapiDocument } from './document.ts';

/** `/asyncapi`: what streams, sockets and topics carry, for machines. */
export function asyncapiRoutes(declarations: readonly StreamDeclaration[]) {
  const text = JSON.stringify(asyncapiDocument(declarations));
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-cache' };
  return new Elysia({ name: 'asyncapi-routes' }).get('/asyncapi', () => new Response(text, { headers }));
}
