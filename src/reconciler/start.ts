import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Substrate } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { Reconciler } from './reconciler.ts';

export interface ReconcilerStartParts {
  readonly db: Db;
  readonly substrate: Substrate;
  readonly logger: Log;
}

/** What compares the substrate with the database. */
export function startReconciler({ db, substrate, logger }: ReconcilerStartParts) {
  const reconciler = new Reconciler({ db, substrate, log: logger });
  return {
    workers: [{ role: 'reconciler', start: () => reconciler.start(), stop: () => reconciler.stop() }],
  } satisfies Domain;
}
