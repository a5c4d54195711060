import { Elysia } from 'elysia';
import type { HeaderAuthenticator } from '../../src/auth/guard.ts';
import type { Role } from '../../src/auth/principal.ts';
import type { Db } from '../../src/db/database.ts';
import type { MutationState } from '../../src/db/schema.ts';
import { AppError } from '../../src/errors.ts';
import { errorHandling } from '../../src/http/errors.ts';
import { requestRules } from '../../src/http/request-rules.ts';
import { topologyRoutes } from '../../src/topology/routes.ts';
import { quiet } from '../support/database.ts';

/** Knows two bearer tokens: `admin-token` and `viewer-token`. */
export const authenticator: HeaderAuthenticator = {
  async authenticateHeader(authorization) {
    const role = ROLE_OF_HEADER.get(authorization ?? '');
    if (role === undefined) throw new AppError('unauthenticated', 'Could not validate credentials');
    return {
      userUuid: `${role}-uuid`,
      username: role,
      role,
      jti: role,
      issuedAt: 0,
      expiresAt: Number.MAX_SAFE_INTEGER,
    };
  },
};

const ROLE_OF_HEADER: ReadonlyMap<string, Role> = new Map([
  ['Bearer admin-token', 'admin'],
  ['Bearer viewer-token', 'viewer'],
]);

export const asAdmin = { authorization: 'Bearer admin-token' };
export const asViewer = { authorization: 'Bearer viewer-token' };

/** The rules and the error table that the composition root puts around the routes. */
export function shell() {
  return new Elysia({ prefix: '/api/v1' })
    .use(requestRules([]))
    .use(errorHandling(quiet, { developer: false, methodsOf: () => [] }));
}

/** The topology routes on their own; `committed()` counts how often the relay has been woken. */
export function topologyApp(db: Db, options: { readonly deployWaitMs?: number } = {}) {
  let commits = 0;
  const app = shell().use(topologyRoutes({ db, authenticator, onCommitted: () => (commits += 1), ...options }));
  return { handle: (request: Request) => app.handle(request), committed: () => commits };
}

export function get(path: string, headers: Record<string, string> = asViewer): Request {
  return new Request(`http://localhost/api/v1${path}`, { headers });
}

/** A POST; a string body is sent as it is, anything else as JSON, and `undefined` sends none. */
export function post(path: string, body: unknown, headers: Record<string, string> = asAdmin): Request {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return new Request(`http://localhost/api/v1${path}`, {
    method: 'POST',
    headers: { ...headers, ...(text === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(text === undefined ? {} : { body: text }),
  });
}

export async function insertTopology(db: Db, id: string, { status = 'active', at = '2026-11-21T08:00:00.000Z' } = {}) {
  await db
    .insertInto('topologies')
    .values({
      id,
      name: `name of ${id}`,
      mode: 'unihost',
      target_host_uuid: null,
      config_snapshot: '{}',
      status,
      status_changed_at: at,
      created_at: at,
    })
    .execute();
}

/** A mutation requested `position` seconds after eight o'clock. */
export async function insertMutation(db: Db, topologyId: string, position: number, state: MutationState = 'pending') {
  await db
    .insertInto('topology_mutations')
    .values({
      id: `m${position}`,
      topology_id: topologyId,
      op: 'update_lan',
      payload: '{"name":"dmz"}',
      state,
      queue_position: position,
      requested_at: new Date(Date.parse('2026-11-21T08:00:00.000Z') + position * 1000).toISOString(),
      applied_at: null,
      reason: null,
    })
    .execute();
}
