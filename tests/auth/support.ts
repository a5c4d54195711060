import { createHmac } from 'node:crypto';
import { Elysia } from 'elysia';
import { accountRoutes } from '../../src/auth/account-routes.ts';
import { Authenticator } from '../../src/auth/authenticator.ts';
import type { verifyPassword } from '../../src/auth/passwords.ts';
import type { Principal, Role } from '../../src/auth/principal.ts';
import { createRateLimits } from '../../src/auth/rate-limit.ts';
import { authRoutes } from '../../src/auth/routes.ts';
import { ServiceAccounts } from '../../src/auth/service-accounts.ts';
import { StreamAuthenticator } from '../../src/auth/stream-auth.ts';
import { Tickets } from '../../src/auth/tickets.ts';
import { Tokens } from '../../src/auth/tokens.ts';
import { userRoutes } from '../../src/auth/user-routes.ts';
import { Users } from '../../src/auth/users.ts';
import type { Engine } from '../../src/db/database.ts';
import { errorHandling } from '../../src/http/errors.ts';
import { requestRules } from '../../src/http/request-rules.ts';
import { Settings } from '../../src/settings/settings.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createTestDatabase } from '../support/database.ts';
import { startTestRedis } from '../support/redis.ts';

export const SECRET = '5f1d7c0b9a3e48266d0fa1b2c3d4e5f60718293a4b5c6d7e';
export const TTL_SECONDS = 600;
/** The address that rate limits see, for tests that come from several. */
export const PEER_HEADER = 'x-test-peer';

export type AuthApp = Awaited<ReturnType<typeof createAuthApp>>;

interface AuthAppOptions {
  /** Rate limits count; default false. */
  readonly limiter?: boolean;
  /** Where they see a request come from: {@link PEER_HEADER} (default) or the TCP connection. */
  readonly peers?: 'header' | 'tcp';
  /** How the brake on an account waits. */
  readonly sleep?: (ms: number) => Promise<unknown>;
  /** Compares passwords; a test that holds it makes something happen meanwhile. */
  readonly verify?: typeof verifyPassword;
}

/** Everything of auth on a database and a Redis of its own, composed as in `main.ts`. */
export async function createAuthApp(engine: Engine, options: AuthAppOptions = {}) {
  const [database, server] = await Promise.all([createTestDatabase(engine), startTestRedis()]);
  const redis = server.client();
  // As the connection that `main.ts` passes: it fails fast.
  redis.options.maxRetriesPerRequest = 1;
  const lines: string[] = [];
  const log = createLog('debug', (line) => lines.push(line));
  let wakes = 0;
  const onCommitted = () => {
    wakes += 1;
  };
  const users = new Users(database.db, onCommitted, options.verify);
  const tokens = new Tokens({ secret: SECRET, ttlSeconds: TTL_SECONDS });
  const accounts = new ServiceAccounts(database.db, onCommitted, log);
  const authenticator = new Authenticator(tokens, users, accounts);
  const tickets = new Tickets(redis, log);
  const parts = { authenticator, users, tokens, tickets, log };
  const limits = createRateLimits(redis, options.limiter ?? false, options.sleep);
  const byHeader = (request: Request) => request.headers.get(PEER_HEADER) ?? '192.0.2.1';
  const peers = options.peers === 'tcp' ? {} : { peerAddress: byHeader };
  const settings = new Settings(database.db, { deployment_limit: 7, global_mutation_interval: '11m' }, onCommitted);
  const app = new Elysia()
    .use(errorHandling(log, { developer: false, methodsOf: () => [] }))
    .use(requestRules([]))
    .group('/api/v1', (api) =>
      api
        .use(authRoutes({ ...parts, logger: log, limits, ...peers }))
        .use(userRoutes({ ...parts, logger: log, settings, developer: false }))
        .use(accountRoutes({ authenticator, accounts, logger: log }))
        .get('/open', () => 'no guard here'),
    );
  return {
    ...parts,
    accounts,
    databaseUrl: database.url,
    db: database.db,
    app,
    lines,
    streams: (queryToken = true) => new StreamAuthenticator({ ...parts, queryToken }),
    wakes: () => wakes,
    redis,
    redisServer: server,
    async dispose() {
      await Promise.all([database.dispose(), server.stop()]);
    },
    /** @param body sent as JSON; a string as it is */
    async call(method: string, path: string, { token, body, headers = {} }: CallOptions = {}) {
      const request = new Request(`http://localhost/api/v1${path}`, {
        method,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      return app.handle(request);
    },
    /** A user who has chosen a password already, with a fresh token. */
    async member(role: Role, { mustChange = false } = {}) {
      const username = `${role}-${crypto.randomUUID()}`;
      const password = `pass-${crypto.randomUUID()}`;
      const { uuid } = await users.create(username, password, role);
      if (!mustChange) {
        await database.db.updateTable('users').set({ must_change_password: 0 }).where('uuid', '=', uuid).execute();
      }
      return { uuid, username, password, token: await tokens.issueAccess(uuid) };
    },
    /** A token of an earlier second: by contract §4.1, tokens of the second of a change survive it. */
    olderToken(userUuid: string): string {
      const claims = goodClaims(userUuid);
      return forgeToken({ ...claims, iat: Number(claims.iat) - 60 });
    },
    async principal(token: string): Promise<Principal> {
      return authenticator.authenticateHeader(`Bearer ${token}`, { allowPasswordChange: true });
    },
    /** The revocations of a user in the outbox, oldest first. */
    async revocations(userUuid: string): Promise<{ topic: string; type: string; payload: Record<string, unknown> }[]> {
      const rows = await database.db.selectFrom('outbox').selectAll().orderBy('seq').execute();
      return rows
        .map(({ topic, type, payload }) => ({ topic, type, payload: JSON.parse(payload) }))
        .filter((event) => event.payload.user_uuid === userUuid);
    },
  };
}

export interface CallOptions {
  readonly token?: string | undefined;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** A JSON object that was answered. */
export async function bodyOf(response: Response): Promise<Record<string, unknown>> {
  return JSON.parse(await response.text());
}

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token made by hand, as an attacker would. */
export function forgeToken(
  claims: Record<string, unknown>,
  { secret = SECRET, header = { alg: 'HS256', typ: 'JWT' }, digest = 'sha256' } = {},
): string {
  const signed = `${base64url(header)}.${base64url(claims)}`;
  return `${signed}.${createHmac(digest, secret).update(signed).digest('base64url')}`;
}

/** The claims of a token that is in order; a test spoils one of them. */
export function goodClaims(uuid: string): Record<string, unknown> {
  const iat = Math.floor(Date.now() / 1000);
  const jti = crypto.randomUUID().replaceAll('-', '');
  return { uuid, jti, iat, exp: iat + TTL_SECONDS, iss: 'decnet', aud: 'decnet-dashboard', typ: 'access' };
}

/** The claims inside a token, unverified. */
export function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
}
