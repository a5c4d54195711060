import { Elysia } from 'elysia';
import type { RedisConnections } from '../bus/redis.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Settings } from '../settings/settings.ts';
import type { Log } from '../telemetry/log.ts';
import { accountRoutes } from './account-routes.ts';
import { Authenticator } from './authenticator.ts';
import { peerAddress } from './peer-address.ts';
import { createRateLimits } from './rate-limit.ts';
import { authRoutes } from './routes.ts';
import { ServiceAccounts } from './service-accounts.ts';
import { SessionMemo } from './session-memo.ts';
import { StreamAuthenticator } from './stream-auth.ts';
import { Tickets } from './tickets.ts';
import { Tokens } from './tokens.ts';
import { userRoutes } from './user-routes.ts';
import { Users } from './users.ts';

export interface AuthStartParts {
  readonly config: Pick<Config, 'auth' | 'http' | 'roles' | 'developer'>;
  readonly db: Db;
  readonly redis: RedisConnections;
  readonly logger: Log;
  readonly settings: Settings;
  /** Called after each commit that wrote to the outbox. */
  readonly onCommitted: () => void;
  /** Whether this process would hear of a revocation now. */
  readonly isCurrent: () => boolean;
}

/** Users, service accounts and their sessions. Where the API is served, the first admin of the configuration is made. */
export async function startAuth({ config, db, redis, logger, settings, onCommitted, isCurrent }: AuthStartParts) {
  const { jwtSecret, tokenTtlSeconds, adminUser, adminPassword, limiter, queryToken } = config.auth;
  // What this node has revoked it has no need to hear of.
  const onRevocable = (uuid: string) => {
    sessions.forget(uuid);
    onCommitted();
  };
  const users = new Users(db, onRevocable);
  if (config.roles.has('api') && adminPassword !== undefined) await users.seedAdmin(adminUser, adminPassword);
  const tokens = new Tokens({ secret: jwtSecret, ttlSeconds: tokenTtlSeconds });
  const tickets = new Tickets(redis.commands, logger);
  const accounts = new ServiceAccounts(db, onRevocable, logger);
  const authenticator = new Authenticator(tokens, users, accounts);
  const sessions = new SessionMemo(authenticator, { isCurrent });
  const streamAuthenticator = new StreamAuthenticator({ authenticator, tickets, tokens, queryToken });
  const limits = createRateLimits(redis.commands, limiter);
  const peer = peerAddress(config.http.trustedProxies);
  return {
    authenticator,
    streamAuthenticator,
    limits,
    peerAddress: peer,
    sessions,
    routes: new Elysia({ name: 'auth' })
      .use(authRoutes({ authenticator, users, tokens, tickets, limits, logger, peerAddress: peer }))
      .use(userRoutes({ authenticator, users, settings, logger, developer: config.developer }))
      .use(accountRoutes({ authenticator, accounts, logger })),
  } satisfies Domain & Record<string, unknown>;
}
