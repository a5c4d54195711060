import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Substrate } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { reapRoutes } from './reap-routes.ts';
import { Reconciler } from './reconciler.ts';

export interface ReconcilerStartParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
  readonly authenticator: HeaderAuthenticator;
}

/** What compares the substrate with the database. */
export function startReconciler({ db, substrate, logger, authenticator }: ReconcilerStartParts) {
  const reconciler = new Reconciler({ db, substrate, logger });
  return {
    routes: reapRoutes({ db, authenticator, reconciler }),
    workers: [
      {
        role: 'reconciler',
        reportsAs: 'reconciler',
        listener: reconciler.listener,
        start: () => reconciler.start(),
        stop: () => reconciler.stop(),
      },
    ],
  } satisfies Domain;
}
