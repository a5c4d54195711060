import { existsSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { Redis } from 'ioredis';
import { privateSocket } from '../../bus/private-socket.ts';
import { connected } from '../../bus/redis.ts';
import { pingRedis } from '../../bus/redis-ping.ts';
import { ConfigError, loadConfig } from '../../config.ts';
import { type Db, engineOf, openDatabase } from '../../db/database.ts';
import { describeError } from '../../errors.ts';
import { createLog, redact } from '../../telemetry/log.ts';
import { CliError } from '../cli-error.ts';
import type { Check } from './check.ts';
import { contiguityCheck } from './contiguity-check.ts';
import { databaseCheck } from './database-check.ts';
import { groupsCheck } from './groups-check.ts';
import { nodesCheck } from './nodes-check.ts';
import { redisCheck } from './redis-check.ts';
import { relayCheck } from './relay-check.ts';

const CONNECT_MS = 3000;
/** Longer than any of its questions takes a Redis that is at work. */
const ANSWER_MS = 10_000;

/** The backing services of a plane, looked at directly. */
export interface Plane {
  readonly checks: readonly Check[];
  close(): Promise<void>;
}

/**
 * Opens what the environment names, as a node would, but starts nothing and makes nothing: no Redis, no file, no folder.
 * What cannot be opened is a check that says so.
 * @throws {CliError} `usage` when a variable cannot be used
 */
export async function openPlane(env: NodeJS.ProcessEnv): Promise<Plane> {
  const { db: database, bus } = settings(env);
  const engine = engineOf(database.url);
  const db = attempt(() => openExisting(database.url));
  const redis = await attempt(() => openRedis(bus.redisUrl, bus.dataDir));
  const opened = await db;
  const checks: Check[] = [];
  checks.push(redis.ok ? redisCheck(redis.value) : blind('redis', redis.error));
  checks.push(opened.ok ? databaseCheck(opened.value, engine) : blind('database', opened.error));
  if (redis.ok) checks.push(nodesCheck(redis.value));
  if (redis.ok && opened.ok) checks.push(relayCheck(opened.value, redis.value));
  if (redis.ok) checks.push(groupsCheck(redis.value), contiguityCheck(redis.value));
  return {
    checks,
    async close() {
      if (redis.ok) redis.value.disconnect();
      if (opened.ok) await opened.value.destroy();
    },
  };
}

/** @throws {CliError} `usage` when a variable cannot be used */
export function settings(env: NodeJS.ProcessEnv) {
  try {
    // A secret is what we do not need: an operator's shell need not have it.
    return loadConfig({ ...env, DECNET_JWT_SECRET: crypto.randomUUID() });
  } catch (error) {
    throw error instanceof ConfigError ? new CliError('usage', error.message) : error;
  }
}

/** The database, if there is one. */
export function openExisting(url: string): Db {
  const path = engineOf(url) === 'sqlite' ? url.slice('sqlite:'.length) : undefined;
  if (path !== undefined && !existsSync(path)) {
    throw new Error(`there is no database ${path}: has a node run with this DATABASE_URL or DECNET_DATA_DIR?`);
  }
  return openDatabase(
    url,
    createLog('error', () => {}),
  );
}

/** A connection to the Redis of a plane, if it runs. */
export async function openRedis(url: string | undefined, dataDir: string): Promise<Redis> {
  const target = url ?? (await embeddedSocket(dataDir));
  const redis = new Redis(target, {
    connectionName: 'decnet-doctor',
    connectTimeout: CONNECT_MS,
    commandTimeout: ANSWER_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let reason = '';
  redis.on('error', (error: Error) => {
    reason = error.message;
  });
  try {
    await connected(redis, CONNECT_MS);
    return redis;
  } catch (error) {
    redis.disconnect();
    throw new Error(`Redis cannot be reached: ${redact(reason || describeError(error))}`);
  }
}

/** Where the server that a node has started for itself listens. Only that node starts and ends it. */
async function embeddedSocket(dataDir: string): Promise<string> {
  const folder = resolve(dataDir, 'redis');
  if (!existsSync(folder)) {
    throw new Error(`there is no embedded Redis under ${dataDir}: set REDIS_URL or DECNET_DATA_DIR as the node has it`);
  }
  const socket = privateSocket(realpathSync(folder));
  const state = await pingRedis(socket, CONNECT_MS);
  if (state === 'ready') return socket;
  if (state === 'absent')
    throw new Error(`the embedded Redis of ${dataDir} does not run: its node is stopped; start it first`);
  throw new Error(
    `the embedded Redis of ${dataDir} is ${state === 'loading' ? 'loading its data; try again' : 'silent'}`,
  );
}

type Attempt<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown };

async function attempt<T>(open: () => T | Promise<T>): Promise<Attempt<T>> {
  try {
    return { ok: true, value: await open() };
  } catch (error) {
    return { ok: false, error };
  }
}

function blind(name: string, error: unknown): Check {
  return { name, look: () => Promise.reject(error) };
}
