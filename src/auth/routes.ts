import { Elysia, t } from 'elysia';
import { AppError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { guard, type HeaderAuthenticator } from './guard.ts';
import { assertNewPassword, assertPasswordBytes, currentPassword, newPassword } from './passwords.ts';
import { type PeerAddress, peerAddress as peerAddressBehind } from './peer-address.ts';
import { NEVER, type Principal } from './principal.ts';
import type { RateLimits } from './rate-limit.ts';
import { rightsOf } from './rights.ts';
import { authOperations } from './schemas.ts';
import { TICKET_TTL_SECONDS, type Tickets } from './tickets.ts';
import type { Tokens } from './tokens.ts';
import type { Users } from './users.ts';

/** What a ticket of a service account opens can be opened again for so long. */
const ACCOUNT_TICKET_MS = 24 * 3600 * 1000;

export interface AuthParts {
  readonly authenticator: HeaderAuthenticator;
  readonly users: Users;
  readonly tokens: Tokens;
  readonly tickets: Tickets;
  readonly limits: RateLimits;
  readonly logger: Log;
  /** The address that rate limits count; by default the TCP peer's. */
  readonly peerAddress?: PeerAddress;
}

/** Contract §4.3, `/auth/*`. The caller mounts it under `/api/v1`. */
export function authRoutes(parts: AuthParts) {
  return new Elysia({ name: 'auth-routes', prefix: '/auth' })
    .use(loginRoute(parts))
    .use(sessionRoutes(parts))
    .use(ticketRoute(parts))
    .use(meRoute(parts));
}

function loginRoute({ users, tokens, limits, peerAddress = peerAddressBehind([]) }: AuthParts) {
  return new Elysia().post(
    '/login',
    async ({ body, request, server, set }) => {
      const { username, password } = body;
      const attempt = () => users.findByCredentials(username, password);
      const user = await limits.login(peerAddress(request, server), username, attempt);
      if (user === undefined) throw new AppError('unauthenticated', 'Incorrect username or password');
      set.headers['cache-control'] = 'no-store';
      return {
        access_token: await tokens.issueAccess(user.uuid, user.generation),
        token_type: 'bearer',
        must_change_password: user.must_change_password,
      };
    },
    { body: t.Object({ username: t.String(), password: currentPassword }), ...authOperations.login },
  );
}

/** What a user who has yet to change the password may do. */
function sessionRoutes({ authenticator, users, limits, logger, peerAddress = peerAddressBehind([]) }: AuthParts) {
  return new Elysia()
    .use(guard(authenticator, 'viewer', { allowPasswordChange: true }))
    .post(
      '/change-password',
      async ({ body, request, server, principal }) => {
        assertNewPassword(body.new_password);
        assertPasswordBytes(body.old_password);
        await limits.changePassword(peerAddress(request, server));
        await users.changePassword(principal, body.old_password, body.new_password);
        logger.info('password changed', { user_uuid: principal.userUuid });
        return { message: 'Password updated successfully' };
      },
      {
        body: t.Object({ old_password: currentPassword, new_password: newPassword }),
        ...authOperations.changePassword,
      },
    )
    .post(
      '/logout',
      async ({ principal }) => {
        await users.endSession(principal);
        return { message: 'Logged out' };
      },
      authOperations.logout,
    );
}

function ticketRoute({ authenticator, tickets }: AuthParts) {
  return new Elysia().use(guard(authenticator, 'anyone')).post(
    '/sse-ticket',
    async ({ principal, set }) => {
      set.headers['cache-control'] = 'no-store';
      return { ticket: await tickets.mint(ticketSession(principal)), expires_in: TICKET_TTL_SECONDS };
    },
    authOperations.ticket,
  );
}

/** A spent ticket is remembered as long as its session lasts, and that of a service account may last for ever. */
function ticketSession(principal: Principal): Principal {
  if (principal.role !== 'account') return principal;
  return { ...principal, expiresAt: Math.min(principal.expiresAt, Date.now() + ACCOUNT_TICKET_MS) };
}

function meRoute({ authenticator }: AuthParts) {
  return new Elysia().use(guard(authenticator, 'anyone')).get(
    '/me',
    ({ principal }) => {
      const { userUuid, username, role, expiresAt } = principal;
      return {
        uuid: userUuid,
        name: username,
        role,
        ...rightsOf(principal),
        expires_at: expiresAt === NEVER ? null : Math.floor(expiresAt / 1000),
      };
    },
    authOperations.me,
  );
}
