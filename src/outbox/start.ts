import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Commits } from '../bus/commits.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Log } from '../telemetry/log.ts';
import { outboxRoutes } from './routes.ts';

export interface OutboxStartParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly commits: Commits;
  readonly logger: Log;
}

/** What was set aside on its way into the log. */
export function startOutbox({ db, authenticator, commits, logger }: OutboxStartParts) {
  return { routes: outboxRoutes({ db, authenticator, onCommitted: commits.onCommitted, logger }) } satisfies Domain;
}
