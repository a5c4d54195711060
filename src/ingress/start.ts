import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { EventLog } from '../bus/event-log.ts';
import type { Domain } from '../domain.ts';
import type { Log } from '../telemetry/log.ts';
import { ingressRoutes } from './routes.ts';

export interface IngressStartParts {
  readonly auth: { readonly sessions: HeaderAuthenticator };
  readonly eventLog: EventLog;
  readonly logger: Log;
}

/** The way in for producers over HTTP. */
export function startIngress({ auth, eventLog, logger }: IngressStartParts) {
  return { routes: ingressRoutes({ authenticator: auth.sessions, eventLog, logger }) } satisfies Domain;
}
