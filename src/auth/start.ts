import { Elysia } from 'elysia';
import type { RedisConnections } from '../bus/redis.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Log } from '../telemetry/log.ts';
import { accountRoutes } from './account-routes.ts';
import { Authenticator } from './authenticator.ts';
import { peerAddress } from './peer-address.ts';
import { createRateLimits } from './rate-limit.ts';
import { authRoutes } from './routes.ts';
import { ServiceAccounts } from './service-accounts.ts';
import { StreamAuthenticator } from './stream-auth.ts';
import { Tickets } from './tickets.ts';
import { Tokens } from './tokens.ts';
import { userRoutes } from './user-routes.ts';
import { Users } from './users.ts';

export interface AuthStartParts {
  readonly config: Pick<Config, 'auth' | 'http' | 'pipeline' | 'roles'>;
  readonly db: Db;
  readonly redis: RedisConnections;
  readonly logger: Log;
  /** Called after each commit that wrote to the outbox. */
  readonly onCommitted: () => void;
}

/** DECNET's answer to GET /config where this project has no setting of its own. */
const DEPLOYMENT_LIMIT = 10;

/** Users, service accounts and their sessions. Where the API is served, the first admin of the configuration is made. */
export async function startAuth({ config, db, redis, logger, onCommitted }: AuthStartParts) {
  const { jwtSecret, tokenTtlSeconds, adminUser, adminPassword, limiter, queryToken } = config.auth;
  const users = new Users(db, onCommitted);
  if (config.roles.has('api') && adminPassword !== undefined) await users.seedAdmin(adminUser, adminPassword);
  const tokens = new Tokens({ secret: jwtSecret, ttlSeconds: tokenTtlSeconds });
  const tickets = new Tickets(redis.commands, logger);
  const accounts = new ServiceAccounts(db, onCommitted, logger);
  const authenticator = new Authenticator(tokens, users, accounts);
  const streamAuthenticator = new StreamAuthenticator({ authenticator, tickets, tokens, queryToken });
  const limits = createRateLimits(redis.commands, limiter);
  const peer = peerAddress(config.http.trustedProxies);
  const settings = {
    deployment_limit: DEPLOYMENT_LIMIT,
    global_mutation_interval: config.pipeline.mutationInterval,
  };
  return {
    authenticator,
    streamAuthenticator,
    limits,
    peerAddress: peer,
    routes: new Elysia({ name: 'auth' })
      .use(authRoutes({ authenticator, users, tokens, tickets, limits, log: logger, peerAddress: peer }))
      .use(userRoutes({ authenticator, users, settings, log: logger }))
      .use(accountRoutes({ authenticator, accounts, logger })),
  } satisfies Domain & Record<string, unknown>;
}
