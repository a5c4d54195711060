import { type Config, loadConfig } from '../../src/config.ts';
import type { Engine } from '../../src/db/database.ts';
import { type App, type StartOptions, start } from '../../src/main.ts';
import { type ChildNode, spawnNode } from './child-node.ts';
import { createTestDatabase, quiet, type TestDatabase } from './database.ts';
import { startTestRedis, type TestRedis } from './redis.ts';

export const ADMIN = { username: 'admin', password: 'first-admin-word' } as const;

/**
 * Settings of a node under test: kernel-chosen port, short times, no workers (a test that enqueues to see one event would
 * see what becomes of it, too), everything else as in production.
 */
export function testEnv(redis: string, database: string): Record<string, string> {
  return {
    DATABASE_URL: database,
    REDIS_URL: redis,
    DECNET_API_PORT: '0',
    DECNET_JWT_SECRET: 'f3a9c1d27b804e56a1d4c8b29e7f6035',
    DECNET_LEASE_SECONDS: '2',
    DECNET_SSE_RETRY_MS: '50',
    DECNET_SSE_KEEPALIVE_SECONDS: '1',
    DECNET_SSE_MAX_PER_USER: '1000',
    DECNET_LIMITER_ENABLED: 'false',
    ROLES: 'api,bus-socket,relay,housekeeper',
  };
}

export interface Plane {
  readonly redis: TestRedis;
  readonly database: TestDatabase;
  readonly config: Config;
  /** Starts a node of this plane; it is stopped with it. */
  node(options?: StartOptions, overrides?: Record<string, string>): Promise<App>;
  /** The same in a process of its own, for what only another process can show. */
  child(overrides?: Record<string, string>): Promise<ChildNode>;
  /** Creates a user who need not change the password, and signs in. */
  token(url: string, role?: 'admin' | 'viewer', username?: string): Promise<string>;
  stop(): Promise<void>;
}

/** One Redis and one database, as many nodes as a test wants. */
export async function createPlane(engine: Engine = 'sqlite'): Promise<Plane> {
  const [redis, database] = await Promise.all([startTestRedis(), createTestDatabase(engine)]);
  const env = testEnv(redis.url, database.url);
  const apps: { stop(): Promise<unknown> }[] = [];
  return {
    redis,
    database,
    config: loadConfig(env),
    async node(options = {}, overrides = {}) {
      const app = await start(loadConfig({ ...env, ...overrides }), { log: quiet, ...options });
      apps.push(app);
      return app;
    },
    async child(overrides = {}) {
      const child = await spawnNode({ ...env, ...overrides });
      apps.push(child);
      return child;
    },
    async token(url, role = 'admin', username = `${role}-user`) {
      await database.db
        .insertInto('users')
        .values({
          uuid: crypto.randomUUID(),
          username,
          password_hash: await Bun.password.hash(ADMIN.password, {
            algorithm: 'argon2id',
            memoryCost: 64,
            timeCost: 1,
          }),
          role,
          must_change_password: 0,
          tokens_valid_from: null,
        })
        .onConflict((conflict) => conflict.column('username').doNothing())
        .execute();
      return login(url, username);
    },
    async stop() {
      await Promise.all(apps.map((app) => app.stop()));
      await redis.stop();
      await database.dispose();
    },
  };
}

export async function login(url: string, username: string, password: string = ADMIN.password): Promise<string> {
  const response = await fetch(`${url}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  const body: unknown = await response.json();
  if (typeof body === 'object' && body !== null && 'access_token' in body) return String(body.access_token);
  throw new Error(`login failed: ${response.status}`);
}

/** A call of the API with a token; a body makes it JSON. */
export function call(url: string, token: string, method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(`${url}/api/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}
