import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { intervalIn } from '../decky/interval-field.ts';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import type { Log } from '../telemetry/log.ts';
import { DEPLOYMENT_LIMIT, settingsOperations } from './schemas.ts';
import type { Settings } from './settings.ts';

export interface SettingsRouteParts {
  readonly authenticator: HeaderAuthenticator;
  readonly settings: Settings;
  /** Whether this process runs in developer mode. */
  readonly developer: boolean;
  /** Gives up logs and attackers. @returns how many of each there are */
  readonly purge: (actor: string) => Promise<Purged>;
  readonly logger: Log;
}

/** Rows that go; bounties and credentials are no rows of this server. */
export interface Purged {
  readonly logs: number;
  readonly bounties: number;
  readonly credentials: number;
  readonly attackers: number;
}

/** Writes of DECNET's settings page but for its users (contract P4.2); `GET /config` is with them. */
export function settingsRoutes({ authenticator, settings, developer, purge, logger }: SettingsRouteParts) {
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
      async ({ principal }) => {
        if (!developer) throw new AppError('forbidden', 'Purging is for developer mode only');
        const deleted = await purge(principal.username);
        logger.warn('everything that was logged is purged', { by: principal.userUuid, ...deleted });
        return { message: 'Data purged', deleted };
      },
      settingsOperations.purge,
    );
}
