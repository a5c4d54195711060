import { Elysia } from 'elysia';
import type { authRoutes } from './auth/routes.ts';
import type { userRoutes } from './auth/user-routes.ts';
import type { fleetRoutes } from './decky/fleet-routes.ts';
import type { serviceRoutes } from './decky/service-routes.ts';
import type { identityRoutes } from './identity/routes.ts';
import type { ingressRoutes } from './ingress/routes.ts';
import type { outboxRoutes } from './outbox/routes.ts';
import type { cutRoute } from './stream/cut-route.ts';
import type { sseRoutes } from './stream/sse-routes.ts';
import type { topologyRoutes } from './topology/routes.ts';
import type { wsRoutes } from './ws/ws-routes.ts';

/** The routes of the API, by what makes them. */
export interface ApiRoutes {
  readonly auth: ReturnType<typeof authRoutes>;
  readonly users: ReturnType<typeof userRoutes>;
  readonly topologies: ReturnType<typeof topologyRoutes>;
  readonly services: ReturnType<typeof serviceRoutes>;
  readonly fleet: ReturnType<typeof fleetRoutes>;
  readonly identities: ReturnType<typeof identityRoutes>;
  readonly ingress: ReturnType<typeof ingressRoutes>;
  readonly outbox: ReturnType<typeof outboxRoutes>;
  readonly cut: ReturnType<typeof cutRoute>;
  readonly sse: ReturnType<typeof sseRoutes>;
  readonly ws: ReturnType<typeof wsRoutes>;
}

/** Everything below `/api/v1`: the one place where routes come together, so that their types do, too. */
export function createApi(routes: ApiRoutes) {
  return new Elysia({ prefix: '/api/v1' })
    .use(routes.auth)
    .use(routes.users)
    .use(routes.topologies)
    .use(routes.services)
    .use(routes.fleet)
    .use(routes.identities)
    .use(routes.ingress)
    .use(routes.outbox)
    .use(routes.cut)
    .use(routes.sse)
    .use(routes.ws);
}

/** What Eden's clients are typed by: `treaty<App>(url)`. */
export type App = ReturnType<typeof createApi>;
