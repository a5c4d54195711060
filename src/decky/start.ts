import { Elysia } from 'elysia';
import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { Commits } from '../bus/commits.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Settings } from '../settings/settings.ts';
import type { Substrate } from '../substrate/substrate.ts';
import type { Log } from '../telemetry/log.ts';
import { fleetRoutes } from './fleet-routes.ts';
import { intervalMs } from './rotation.ts';
import { Rotator } from './rotator.ts';
import { serviceRoutes } from './service-routes.ts';

export interface DeckyStartParts {
  readonly config: Pick<Config, 'pipeline'>;
  readonly db: Db;
  readonly settings: Settings;
  readonly substrate: Substrate;
  readonly logger: Log;
  readonly authenticator: HeaderAuthenticator;
  readonly commits: Commits;
  /** Called after each commit of a worker. */
  readonly wakeRelay: () => void;
}

/** Deckies that run: the fleet and its rotation, and services that are changed while they run. */
export function startDecky(parts: DeckyStartParts) {
  const { config, db, settings, substrate, logger, authenticator, commits, wakeRelay } = parts;
  const fleetIntervalMs = async () => intervalMs((await settings.read()).global_mutation_interval) ?? null;
  const rotator = new Rotator({ db, substrate, logger, onCommitted: wakeRelay, fleetIntervalMs });
  const { onCommitted } = commits;
  return {
    routes: new Elysia({ name: 'deckies' })
      .use(serviceRoutes({ db, authenticator, substrate, onCommitted, logger }))
      .use(
        fleetRoutes({
          db,
          settings,
          substrate,
          network: config.pipeline.fleetNetwork,
          authenticator,
          onCommitted,
          onRequested: () => rotator.wake(),
        }),
      ),
    workers: [
      {
        role: 'rotator',
        // DECNET's mutator changes topologies and rotates the fleet: one worker to the outside.
        reportsAs: 'mutator',
        listener: rotator.listener,
        start: () => rotator.start(),
        stop: () => rotator.stop(),
      },
    ],
  } satisfies Domain;
}
