import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { intervalIn } from '../decky/interval-field.ts';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import { DEPLOYMENT_LIMIT, settingsOperations } from './schemas.ts';
import type { Settings } from './settings.ts';

export interface SettingsRouteParts {
  readonly authenticator: HeaderAuthenticator;
  readonly settings: Settings;
  /** Whether this process runs in developer mode. */
  readonly developer: boolean;
}

/** Writes of DECNET's settings page but for its users (contract P4.2); `GET /config` is with them. */
export function settingsRoutes({ authenticator, settings, developer }: SettingsRouteParts) {
  return new Elysia({ name: 'settings-routes', prefix: '/config' })
    .use(guard(authenticator, 'admin'))
    .put(
      '/deployment-limit',
      async ({ body, principal }) => {
        const fields = new BodyFields(body);
        const limit = fields.integer('deployment_limit', DEPLOYMENT_LIMIT);
        fields.check();
        await settings.setDeploymentLimit(limit, principal.username);
        return { message: 'Deployment limit updated' };
      },
      settingsOperations.setDeploymentLimit,
    )
    .put(
      '/global-mutation-interval',
      async ({ body, principal }) => {
        const interval = intervalIn(body, 'global_mutation_interval');
        await settings.setMutationInterval(interval, principal.username);
        return { message: 'Global mutation interval updated' };
      },
      settingsOperations.setMutationInterval,
    )
    .delete(
      '/reinit',
      () => {
        if (!developer) throw new AppError('forbidden', 'Purging is for developer mode only');
        // What the pages show is worked out from the log: rows that are gone would come back with the next rebuild.
        throw new AppError(
          'unsupported',
          'This server does not purge: its rows are made from its log, and a rebuild would bring them back. ' +
            'To begin anew, start it with an empty data folder, or with another database and Redis',
        );
      },
      settingsOperations.purge,
    );
}
