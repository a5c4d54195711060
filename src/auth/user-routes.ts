import { Elysia } from 'elysia';
import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import type { Settings } from '../settings/settings.ts';
import type { Log } from '../telemetry/log.ts';
import { guard, type HeaderAuthenticator } from './guard.ts';
import { assertNewPassword } from './passwords.ts';
import { ROLES, type Role } from './principal.ts';
import { authOperations, USERNAME } from './schemas.ts';
import type { Users } from './users.ts';

export interface UserRoutesParts {
  readonly authenticator: HeaderAuthenticator;
  readonly users: Users;
  /** Shown beside the users. */
  readonly settings: Pick<Settings, 'read'>;
  /** Whether this process runs in developer mode: the page of settings then offers what is for developers. */
  readonly developer: boolean;
  readonly logger: Log;
}

/** Contract §4.3, `/config` and `/config/users…`. The caller mounts it under `/api/v1`. */
export function userRoutes(parts: UserRoutesParts) {
  return new Elysia({ name: 'user-routes', prefix: '/config' }).use(configRoute(parts)).use(managementRoutes(parts));
}

function configRoute({ authenticator, users, settings, developer }: UserRoutesParts) {
  return new Elysia().use(guard(authenticator, 'viewer')).get(
    '/',
    async ({ principal }) => {
      const config = { role: principal.role, ...(await settings.read()) };
      if (principal.role !== 'admin') return config;
      // The page looks whether the key is there (contract P4.2).
      return { ...config, users: await users.list(), ...(developer ? { developer_mode: true } : {}) };
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
        const { username, password, role } = newUserIn(body);
        const user = await users.create(username, password, role);
        logger.info('user created', { user_uuid: user.uuid, role: user.role, by: principal.userUuid });
        return user;
      },
      authOperations.createUser,
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
        const fields = new BodyFields(body);
        const role = roleIn(fields);
        fields.check();
        if (params.uuid === principal.userUuid) throw new AppError('forbidden', 'You cannot change your own role');
        await users.setRole(params.uuid, role);
        logger.info('user role changed', { user_uuid: params.uuid, role, by: principal.userUuid });
        return { message: 'User role updated' };
      },
      authOperations.setRole,
    )
    .put(
      '/:uuid/reset-password',
      async ({ params, body, principal }) => {
        const fields = new BodyFields(body);
        const password = passwordIn(fields, 'new_password');
        await users.resetPassword(params.uuid, password);
        logger.info('user password reset', { user_uuid: params.uuid, by: principal.userUuid });
        return { message: 'Password reset' };
      },
      authOperations.resetPassword,
    );
}

/** The page of users shows what is wrong with them as it is told here. */
function newUserIn(body: unknown) {
  const fields = new BodyFields(body);
  const username = fields.text('username', USERNAME);
  const role = roleIn(fields);
  return { username, password: passwordIn(fields, 'password'), role };
}

function roleIn(fields: BodyFields): Role {
  const role = fields.text('role', { min: 0, max: Number.POSITIVE_INFINITY });
  const known = ROLES.find((name) => name === role);
  if (known === undefined) fields.refuse(`role must be one of ${ROLES.join(', ')}`);
  return known ?? 'viewer';
}

/** The last field to be read: checks all of them. */
function passwordIn(fields: BodyFields, name: string): string {
  const password = fields.text(name, { min: 0, max: Number.POSITIVE_INFINITY });
  fields.check();
  assertNewPassword(password);
  return password;
}
