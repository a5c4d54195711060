import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { streamOperations } from './schemas.ts';
import type { Streams } from './streams.ts';

/**
 * `POST /streams/cut`: drops the caller's own streams on this node at the socket, without a farewell, so that anyone can
 * watch a client reconnect and resume.
 */
export function cutRoute(streams: Streams, authenticator: HeaderAuthenticator) {
  return new Elysia({ name: 'cut-route' })
    .use(guard(authenticator, 'viewer'))
    .post('/streams/cut', ({ principal }) => ({ cut: streams.cut(principal.userUuid) }), streamOperations.cut);
}
