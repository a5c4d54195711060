import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { OUTSIDE_READS, OUTSIDE_WRITES } from '../../src/outside/table.ts';
import { call, createPlane, type Plane } from '../support/app.ts';

const ID = '00000000-0000-4000-8000-000000000000';

/** Every route of the API that is not public, with the role that it asks for. */
const GUARDED = [
  ['POST', '/auth/change-password', 'viewer'],
  ['POST', '/auth/logout', 'viewer'],
  ['POST', '/auth/sse-ticket', 'viewer'],
  ['GET', '/auth/me', 'viewer'],
  ['POST', '/service-accounts', 'admin'],
  ['GET', '/service-accounts', 'admin'],
  ['GET', `/service-accounts/${ID}`, 'admin'],
  ['PATCH', `/service-accounts/${ID}`, 'admin'],
  ['POST', `/service-accounts/${ID}/rotate`, 'admin'],
  ['DELETE', `/service-accounts/${ID}`, 'admin'],
  ['GET', '/config', 'viewer'],
  ['POST', '/config/users', 'admin'],
  ['DELETE', `/config/users/${ID}`, 'admin'],
  ['PUT', `/config/users/${ID}/role`, 'admin'],
  ['PUT', `/config/users/${ID}/reset-password`, 'admin'],
  ['GET', '/topologies/', 'viewer'],
  ['GET', `/topologies/${ID}`, 'viewer'],
  ['GET', `/topologies/${ID}/status-events`, 'viewer'],
  ['GET', `/topologies/${ID}/mutations`, 'viewer'],
  ['POST', `/topologies/${ID}/mutations`, 'admin'],
  ['GET', '/stats', 'viewer'],
  ['GET', '/logs', 'viewer'],
  ['GET', '/logs/histogram', 'viewer'],
  ['GET', '/stream', 'viewer'],
  ['GET', '/campaigns/events', 'viewer'],
  ['GET', '/orchestrator/events/stream', 'viewer'],
  ['GET', `/attackers/${ID}/events`, 'viewer'],
  ['GET', '/identities', 'viewer'],
  ['GET', `/identities/${ID}`, 'viewer'],
  ['GET', `/identities/${ID}/observations`, 'viewer'],
  ['GET', '/attackers', 'viewer'],
  ['GET', '/attackers/export/stix', 'viewer'],
  ['GET', '/attackers/export/misp', 'viewer'],
  ['GET', `/attackers/${ID}`, 'viewer'],
  ['GET', `/attackers/${ID}/attribution`, 'viewer'],
  ['GET', `/attackers/${ID}/commands`, 'viewer'],
  ['GET', `/attackers/${ID}/artifacts`, 'viewer'],
  ['GET', `/attackers/${ID}/transcripts`, 'viewer'],
  ['GET', `/attackers/${ID}/smtp-targets`, 'viewer'],
  ['GET', `/attackers/${ID}/intel`, 'viewer'],
  ['GET', `/attackers/${ID}/mail`, 'admin'],
  ['GET', `/attackers/${ID}/export/stix`, 'viewer'],
  ['GET', `/attackers/${ID}/export/misp`, 'viewer'],
  ['GET', '/campaigns', 'viewer'],
  ['GET', `/campaigns/${ID}`, 'viewer'],
  ['GET', `/campaigns/${ID}/identities`, 'viewer'],
  ['GET', '/orchestrator/events', 'viewer'],
  ['GET', '/orchestrator/events/stats', 'viewer'],
  ['POST', '/events', 'admin'],
  ['POST', '/topologies/blank', 'admin'],
  ['POST', '/topologies/', 'admin'],
  ['POST', `/topologies/${ID}/deploy`, 'admin'],
  ['POST', `/topologies/${ID}/teardown`, 'admin'],
  ['DELETE', `/topologies/${ID}`, 'admin'],
  ['POST', `/topologies/${ID}/lans`, 'admin'],
  ['PATCH', `/topologies/${ID}/lans/${ID}`, 'admin'],
  ['DELETE', `/topologies/${ID}/lans/${ID}`, 'admin'],
  ['POST', `/topologies/${ID}/deckies`, 'admin'],
  ['PATCH', `/topologies/${ID}/deckies/${ID}`, 'admin'],
  ['DELETE', `/topologies/${ID}/deckies/${ID}`, 'admin'],
  ['POST', `/topologies/${ID}/edges`, 'admin'],
  ['DELETE', `/topologies/${ID}/edges/${ID}`, 'admin'],
  ['POST', `/topologies/${ID}/deckies/d1/services`, 'admin'],
  ['DELETE', `/topologies/${ID}/deckies/d1/services/ssh`, 'admin'],
  ['PUT', `/topologies/${ID}/deckies/d1/services/ssh/config`, 'admin'],
  ['POST', `/topologies/${ID}/deckies/d1/services/ssh/apply`, 'admin'],
  ['GET', '/topologies/services', 'viewer'],
  ['GET', '/topologies/archetypes', 'viewer'],
  ['GET', '/topologies/next-subnet', 'viewer'],
  ['GET', '/topologies/services/ssh/schema', 'viewer'],
  ['GET', `/topologies/${ID}/lans/${ID}/next-ip`, 'viewer'],
  ['GET', '/outbox/set-aside', 'admin'],
  ['POST', `/outbox/set-aside/${ID}/retry`, 'admin'],
  ['DELETE', `/outbox/set-aside/${ID}`, 'admin'],
  ['GET', '/deckies', 'viewer'],
  ['GET', '/deckies/lifecycle', 'viewer'],
  ['POST', '/deckies/d1/mutate', 'admin'],
  ['PUT', '/deckies/d1/mutate-interval', 'admin'],
  ['POST', '/deckies/deploy', 'admin'],
  ['DELETE', '/deckies/d1', 'admin'],
  ['POST', '/deckies/d1/services', 'admin'],
  ['DELETE', '/deckies/d1/services/ssh', 'admin'],
  ['PUT', '/deckies/d1/services/ssh/config', 'admin'],
  ['POST', '/deckies/d1/services/ssh/apply', 'admin'],
  ['GET', '/deckies/d1/tarpit', 'viewer'],
  ['POST', '/deckies/d1/tarpit', 'admin'],
  ['DELETE', '/deckies/d1/tarpit', 'admin'],
  ['GET', `/topologies/${ID}/deckies/d1/tarpit`, 'viewer'],
  ['POST', `/topologies/${ID}/deckies/d1/tarpit`, 'admin'],
  ['DELETE', `/topologies/${ID}/deckies/d1/tarpit`, 'admin'],
  ['GET', `/topologies/${ID}/personas`, 'viewer'],
  ['PUT', `/topologies/${ID}/personas`, 'admin'],
  ['POST', '/topologies/reap-orphans', 'admin'],
  ['GET', '/webhooks/', 'admin'],
  ['POST', '/webhooks/', 'admin'],
  ['POST', '/webhooks/reencrypt', 'admin'],
  ['GET', `/webhooks/${ID}`, 'admin'],
  ['PATCH', `/webhooks/${ID}`, 'admin'],
  ['DELETE', `/webhooks/${ID}`, 'admin'],
  ['POST', `/webhooks/${ID}/test`, 'admin'],
  ['POST', `/webhooks/${ID}/preview`, 'admin'],
  ['POST', `/webhooks/${ID}/rotate-secret`, 'admin'],
  ['GET', `/webhooks/${ID}/deliveries`, 'admin'],
  ['GET', `/webhooks/${ID}/deliveries/1`, 'admin'],
  ['POST', `/webhooks/${ID}/deliveries/drop`, 'admin'],
  ['POST', `/webhooks/${ID}/deliveries/redeliver`, 'admin'],
  ['GET', '/system/deployment-mode', 'viewer'],
  ['PUT', '/config/deployment-limit', 'admin'],
  ['PUT', '/config/global-mutation-interval', 'admin'],
  ['DELETE', '/config/reinit', 'admin'],
  ['GET', '/workers', 'viewer'],
  ['POST', '/workers/start-all', 'admin'],
  ['POST', '/workers/mutator/stop', 'admin'],
  ['POST', '/workers/mutator/start', 'admin'],
  ...OUTSIDE_READS.map(({ path, role }) => ['GET', path.replaceAll(/:\w+/g, 'x'), role] as const),
  ...OUTSIDE_WRITES.map(({ method, path }) => [method, path.replaceAll(/:\w+/g, 'x'), 'admin'] as const),
  ['POST', '/streams/cut', 'viewer'],
  ['GET', '/events', 'viewer'],
  ['GET', `/topologies/${ID}/events`, 'viewer'],
  ['GET', '/identities/events', 'viewer'],
] as const;

/** Signing in, and the handshake of a socket: who it is may be said in its first message. */
const PUBLIC = ['GET /api/v1/ws', 'POST /api/v1/auth/login'];

describe('as the whole is put together', () => {
  let plane: Plane;
  let node: App;
  let viewer: string;

  beforeAll(async () => {
    plane = await createPlane();
    node = await plane.node();
    viewer = await plane.token(node.url, 'viewer');
  });
  afterAll(() => plane.stop());

  test('every route is listed here, with the role that it asks for', () => {
    const listed = (method: string, path: string) => {
      const form = new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}$`);
      return GUARDED.some((guarded) => guarded[0] === method && form.test(`/api/v1${guarded[1]}`));
    };
    const served = node.routes.filter(({ method, path }) => path.startsWith('/api/v1/') && method !== 'WS');
    const missing = served.filter(({ method, path }) => !listed(method, path.replace(/\/$/, '/?')));
    expect([...new Set(missing.map(({ method, path }) => `${method} ${path}`))].sort()).toEqual(PUBLIC);
  });

  test.each(GUARDED)('%s %s asks who it is', async (method, path) => {
    const answer = await call(node.url, 'no.such.token', method, path, method === 'GET' ? undefined : {});
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    expect(await answer.json()).toEqual({ detail: 'Could not validate credentials' });
  });

  test.each(GUARDED.filter(([, , role]) => role === 'admin'))('%s %s is not for viewers', async (method, path) => {
    const answer = await call(node.url, viewer, method, path, method === 'GET' ? undefined : {});
    expect(answer.status).toBe(403);
    expect(await answer.json()).toEqual({ detail: 'Insufficient permissions' });
  });

  test.each([
    ['PUT', '/topologies/', 'GET, POST'],
    ['GET', '/auth/login', 'POST'],
    ['DELETE', '/config', 'GET'],
    ['DELETE', `/topologies/${ID}/mutations/`, 'GET, POST'],
    ['PUT', '/topologies/services', 'GET, DELETE'],
  ])('%s %s is answered with the methods that the path has', async (method, path, allowed) => {
    const answer = await call(node.url, viewer, method, path, method === 'GET' ? undefined : {});
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, allowed]);
  });
});
