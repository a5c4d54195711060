import { Elysia, t } from 'elysia';
import { AppError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { guard, type HeaderAuthenticator } from './guard.ts';
import { assertPasswordBytes, newPassword } from './passwords.ts';
import { authOperations } from './schemas.ts';
import type { Users } from './users.ts';

/** What DECNET's settings page shows beside the users; this project deploys nothing and only tells them. */
export interface PlaneSettings {
  /** How many deckies one deployment may have. */
  readonly deployment_limit: number;
  /** How often deckies change by themselves, as DECNET writes durations (`30m`). */
  readonly global_mutation_interval: string;
}

export interface UserRoutesParts {
  readonly authenticator: HeaderAuthenticator;
  readonly users: Users;
  readonly settings: PlaneSettings;
  readonly log: Log;
}

const role = t.Union([t.Literal('viewer'), t.Literal('admin')]);
const newUser = t.Object({ username: t.String({ minLength: 1, maxLength: 64 }), password: newPassword, role });

/** Contract §4.3, `/config` and `/config/users…`. The caller mounts it under `/api/v1`. */
export function userRoutes(parts: UserRoutesParts) {
  return new Elysia({ name: 'user-routes', prefix: '/config' }).use(configRoute(parts)).use(managementRoutes(parts));
}

function configRoute({ authenticator, users, settings }: UserRoutesParts) {
  return new Elysia().use(guard(authenticator, 'viewer')).get(
    '/',
    async ({ principal }) => {
      const config = { role: principal.role, ...settings };
      return principal.role === 'admin' ? { ...config, users: await users.list() } : config;
    },
    authOperations.config,
  );
}

function managementRoutes({ authenticator, users, log }: UserRoutesParts) {
  return new Elysia({ prefix: '/users' })
    .use(guard(authenticator, 'admin'))
    .post(
      '/',
      async ({ body, principal }) => {
        assertPasswordBytes(body.password);
        const user = await users.create(body.username, body.password, body.role);
        log.info('user created', { user_uuid: user.uuid, role: user.role, by: principal.userUuid });
        return user;
      },
      { body: newUser, ...authOperations.createUser },
    )
    .delete(
      '/:uuid',
      async ({ params, principal }) => {
        if (params.uuid === principal.userUuid) throw new AppError('forbidden', 'You cannot delete your own user');
        await users.delete(params.uuid);
        log.info('user deleted', { user_uuid: params.uuid, by: principal.userUuid });
        return { message: 'User deleted' };
      },
      authOperations.deleteUser,
    )
    .put(
      '/:uuid/role',
      async ({ params, body, principal }) => {
        await users.setRole(params.uuid, body.role);
        log.info('user role changed', { user_uuid: params.uuid, role: body.role, by: principal.userUuid });
        return { message: 'User role updated' };
      },
      { body: t.Object({ role }), ...authOperations.setRole },
    )
    .put(
      '/:uuid/reset-password',
      async ({ params, body, principal }) => {
        assertPasswordBytes(body.new_password);
        await users.resetPassword(params.uuid, body.new_password);
        log.info('user password reset', { user_uuid: params.uuid, by: principal.userUuid });
        return { message: 'Password reset' };
      },
      { body: t.Object({ new_password: newPassword }), ...authOperations.resetPassword },
    );
}
