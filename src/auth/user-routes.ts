import { Elysia, t } from 'elysia';
import { AppError } from '../errors.ts';
import type { Settings } from '../settings/settings.ts';
import type { Log } from '../telemetry/log.ts';
import { guard, type HeaderAuthenticator } from './guard.ts';
import { assertNewPassword, newPassword } from './passwords.ts';
import { authOperations } from './schemas.ts';
import type { Users } from './users.ts';

export interface UserRoutesParts {
  readonly authenticator: HeaderAuthenticator;
  readonly users: Users;
  /** Shown beside the users. */
  readonly settings: Pick<Settings, 'read'>;
  readonly logger: Log;
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
      const config = { role: principal.role, ...(await settings.read()) };
      return principal.role === 'admin' ? { ...config, users: await users.list() } : config;
    },
    authOperations.config,
  );
}

function managementRoutes({ authenticator, users, logger }: UserRoutesParts) {
  return new Elysia({ prefix: '/users' })
    .use(guard(authenticator, 'admin'))
    .post(
      '/',
      async ({ body, principal }) => {
        assertNewPassword(body.password);
        const user = await users.create(body.username, body.password, body.role);
        logger.info('user created', { user_uuid: user.uuid, role: user.role, by: principal.userUuid });
        return user;
      },
      { body: newUser, ...authOperations.createUser },
    )
    .delete(
      '/:uuid',
      async ({ params, principal }) => {
        if (params.uuid === principal.userUuid) throw new AppError('forbidden', 'You cannot delete your own user');
        await users.delete(params.uuid);
        logger.info('user deleted', { user_uuid: params.uuid, by: principal.userUuid });
        return { message: 'User deleted' };
      },
      authOperations.deleteUser,
    )
    .put(
      '/:uuid/role',
      async ({ params, body, principal }) => {
        if (params.uuid === principal.userUuid) throw new AppError('forbidden', 'You cannot change your own role');
        await users.setRole(params.uuid, body.role);
        logger.info('user role changed', { user_uuid: params.uuid, role: body.role, by: principal.userUuid });
        return { message: 'User role updated' };
      },
      { body: t.Object({ role }), ...authOperations.setRole },
    )
    .put(
      '/:uuid/reset-password',
      async ({ params, body, principal }) => {
        assertNewPassword(body.new_password);
        await users.resetPassword(params.uuid, body.new_password);
        logger.info('user password reset', { user_uuid: params.uuid, by: principal.userUuid });
        return { message: 'Password reset' };
      },
      { body: t.Object({ new_password: newPassword }), ...authOperations.resetPassword },
    );
}
