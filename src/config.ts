import { hkdfSync } from 'node:crypto';
import { isIP } from 'node:net';
import { assertPattern } from './bus/topic.ts';
import { describeError } from './errors.ts';
import { type ChosenLimits, DEFAULT_LIMITS, type Keep, limitsOf } from './projection/keep.ts';
import { PROCESS_ROLES, type ProcessRoles } from './roles.ts';
import { LOG_LEVELS, type LogLevel } from './telemetry/log.ts';
import { parseCidr } from './topology/addresses.ts';
import { KNOWN_WORKERS } from './worker/heartbeat-projection.ts';
import { type WorkerName, workerNamed } from './workers/registry.ts';
import { PLACEHOLDER } from './workers/supervisor.ts';

/** All settings of a process. Durations are milliseconds unless the name says otherwise. */
export interface Config {
  /** Human-friendly error bodies for developers (`DECNET_DEVELOPER`, default false). */
  readonly developer: boolean;
  readonly logLevel: LogLevel;
  readonly http: {
    /** `DECNET_API_HOST`, default 127.0.0.1. */
    readonly host: string;
    /** `DECNET_API_PORT`, default 8000; 0 lets the kernel choose. */
    readonly port: number;
    /** `DECNET_CORS_ORIGINS`, comma list of exact origins; `*` is refused because streams carry credentials. */
    readonly corsOrigins: readonly string[];
    /** `DECNET_TRUSTED_PROXIES`, comma list of exact addresses: whose `x-forwarded-for` names whom rate limits count. */
    readonly trustedProxies: readonly string[];
  };
  readonly db: {
    /** `DATABASE_URL`: `postgres://…` or `sqlite:<path>`; unset: SQLite under `DECNET_DATA_DIR`. */
    readonly url: string;
  };
  readonly bus: {
    /** `REDIS_URL`; unset: a private redis-server child under `DECNET_DATA_DIR`. */
    readonly redisUrl: string | undefined;
    /** `DECNET_DATA_DIR`, default `.data`: embedded SQLite and Redis live here. */
    readonly dataDir: string;
    /** `DECNET_LOG_MAX_EVENTS`, default 100000: entries that a channel stream keeps, approximately (`MAXLEN ~`). */
    readonly maxEvents: number;
    /** `DECNET_LOG_MAX_AGE_HOURS`, default 168: older events are trimmed; 0 keeps them for ever. */
    readonly maxAgeMs: number;
    /**
     * `DECNET_LOG_MAX_BYTES`, default 1 GiB: bytes of events that a channel keeps, 16 MiB or more; 0: any number. Enforced
     * within a minute, for the log within seconds.
     */
    readonly maxBytes: number;
    /** `DECNET_IDEMPOTENCY_SECONDS`, default 600: how long a repeated event id is answered with its first result. */
    readonly idempotencyMs: number;
    /** `DECNET_LEASE_SECONDS`, default 15: a node silent for so long is dead; its groups and slots are freed. */
    readonly leaseMs: number;
  };
  /**
   * What read models keep, the newest: `DECNET_KEEP_LINES`, default 1,000,000 lines of deckies' logs; `DECNET_KEEP_COMMANDS`,
   * default 1,000,000 commands of attackers; `DECNET_KEEP_ACTIONS`, default 100,000 of what the orchestrator did, and
   * as many mails; `DECNET_KEEP_DAYS`, default 90: older rows of these go, 0: as long as there are not too many;
   * `DECNET_KEEP_ATTACKERS` and `DECNET_KEEP_IDENTITIES`, default 100,000, `DECNET_KEEP_CAMPAIGNS`, default 10,000: those that
   * were told of last.
   */
  readonly keep: Keep;
  readonly stream: {
    /** `DECNET_SSE_MAX_PER_USER`, default 5: open streams of one user over all nodes. */
    readonly maxPerUser: number;
    /** `DECNET_SSE_KEEPALIVE_SECONDS`, default 15: a comment after so long without a frame. */
    readonly keepaliveMs: number;
    /** `DECNET_SSE_STALL_SECONDS`, default 30: a client that takes nothing for so long is closed; it can resume. */
    readonly stallMs: number;
    /** `DECNET_SSE_RETRY_MS`, default 3000: centre of the jittered `retry:` that clients are told. */
    readonly retryMs: number;
    /** `DECNET_SSE_WINDOW_BYTES`, default 4 MiB: recent frames kept in memory for each active channel. */
    readonly windowBytes: number;
  };
  readonly ws: {
    /** `DECNET_WS_AUTH_SECONDS`, default 10: a WebSocket on which nobody has signed in for so long is closed. */
    readonly authMs: number;
  };
  /** `ROLES`, comma list, default all: what this process does. */
  readonly roles: ProcessRoles;
  readonly pipeline: {
    /** `DECNET_SUBSTRATE`, default record: what runs deckies. `record` runs nothing; `docker` asks a Docker engine. */
    readonly substrate: Substrate;
    /** `DECNET_DOCKER_SOCKET`, default /var/run/docker.sock. */
    readonly dockerSocket: string;
    /** `DECNET_DOCKER_IMAGE`, default decnet/decky:latest: the image of every decky. */
    readonly dockerImage: string;
    /** `DECNET_GLOBAL_MUTATION_INTERVAL`, default 30m: how often fleet deckies without an interval of their own change. */
    readonly mutationInterval: string;
    /** `DECNET_FLEET_NETWORK`, default 192.168.60.0/24: where deckies of the fleet get their addresses. */
    readonly fleetNetwork: string;
  };
  readonly supervisor: {
    /** `DECNET_SUPERVISOR_COMMAND`: starts a worker, by words without a shell; `{worker}` is its name. Unset: nobody does. */
    readonly command: readonly string[] | undefined;
    /** `DECNET_SUPERVISOR_WORKERS`, comma list: whom it can start; unset: all that DECNET knows. */
    readonly workers: readonly WorkerName[];
  };
  readonly auth: {
    /** `DECNET_JWT_SECRET`: the HS256 key, at least 32 characters. Required, except under `bun run dev`. */
    readonly jwtSecret: string;
    /** `DECNET_JWT_EXP_MINUTES`, default 240. */
    readonly tokenTtlSeconds: number;
    /** `DECNET_ADMIN_USER`, default admin. */
    readonly adminUser: string;
    /** `DECNET_ADMIN_PASSWORD`, at least 12 characters; without it no admin is created. */
    readonly adminPassword: string | undefined;
    /** `DECNET_SSE_QUERY_TOKEN`, default true: accept `?token=<JWT>` on streams. */
    readonly queryToken: boolean;
    /** `DECNET_LIMITER_ENABLED`, default true: rate limits on login and password change. */
    readonly limiter: boolean;
  };
  readonly webhook: {
    /** `DECNET_WEBHOOK_ALLOW_PRIVATE`, default false: receivers in private networks may be reached. For laboratories. */
    readonly allowPrivate: boolean;
    /** `DECNET_WEBHOOK_CIRCUIT_THRESHOLD`, default 5: failures in a row after which a receiver is left in peace for a while. */
    readonly circuitThreshold: number;
    /** `DECNET_WEBHOOK_RETRY_SECONDS`: comma list of the pauses between attempts; the default begins 1,2,4 and ends after two days. */
    readonly retrySeconds: readonly number[];
    /** `DECNET_WEBHOOK_TIMEOUT_SECONDS`, default 10: for a whole request; half of it for the connection. */
    readonly timeoutMs: number;
    /** `DECNET_WEBHOOK_DISABLE_DAYS`, default 5: a receiver that has failed for so long, without a success, is disabled. */
    readonly disableAfterMs: number;
    /** `DECNET_WEBHOOK_DELIVERED_HOURS`, default 24: how long a delivery that was made can be looked at. */
    readonly deliveredMs: number;
    /** `DECNET_WEBHOOK_DEAD_DAYS`, default 30: how long a dead letter waits for a decision. */
    readonly deadMs: number;
    /**
     * `DECNET_WEBHOOK_MOST_EVENTS`, default 100,000, and `DECNET_WEBHOOK_MOST_MB`, default 256: what each webhook may have waiting, as many dead
     * letters, and as many that were delivered.
     */
    readonly bounds: { readonly events: number; readonly bytes: number };
    /**
     * `DECNET_WEBHOOK_KEYS`: comma list of `<id>:<base64 of 32 bytes>`, which seal the secrets at rest; the first seals, all open. Unset:
     * a key derived from `DECNET_JWT_SECRET`, which opens what it sealed afterwards too.
     */
    readonly keys: readonly [SealKey, ...SealKey[]];
  };
  readonly busSocket: {
    /** `DECNET_BUS_SOCKET`: the path of a UNIX socket on which DECNET's workers publish and subscribe; unset: none. */
    readonly path: string | undefined;
    /** `DECNET_BUS_GROUP`, default decnet: who may connect beside the owner. */
    readonly group: string;
    /** `DECNET_BUS_PUBLISH`, default >: comma list of patterns, what peers may publish. */
    readonly publish: readonly string[];
    /** `DECNET_BUS_SUBSCRIBE`, default >: comma list of patterns, what peers may be told, whatever they subscribe to. */
    readonly subscribe: readonly string[];
  };
}

/** A key that secrets are sealed with. */
export interface SealKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

const SUBSTRATES = ['record', 'docker'] as const;
type Substrate = (typeof SUBSTRATES)[number];

/** A setting that cannot be used. The message names the variable and never repeats a secret. */
export class ConfigError extends Error {
  constructor(variable: string, problem: string) {
    super(`${variable} ${problem}`);
    this.name = 'ConfigError';
  }
}

type Env = Readonly<Record<string, string | undefined>>;

/** Variables of the past, and what to say instead. One that is set stops the start: it would change nothing. */
export const REPLACED = {
  DECNET_WORKERS:
    'was replaced by ROLES: leave both out for true; for false set ROLES=api,bus-socket,relay,housekeeper',
} as const;

const KNOWN_BAD_SECRET = /^(.)\1*$|secret|changeme|change-me|password|example/i;

/**
 * Reads every setting from the environment.
 * @throws {ConfigError} naming the first variable whose value cannot be used
 */
export function loadConfig(env: Env): Config {
  for (const [variable, instead] of Object.entries(REPLACED)) {
    if (raw(env, variable) !== undefined) throw new ConfigError(variable, instead);
  }
  const dataDir = text(env, 'DECNET_DATA_DIR', '.data');
  return {
    developer: flag(env, 'DECNET_DEVELOPER', false),
    logLevel: oneOf(env, 'DECNET_LOG_LEVEL', LOG_LEVELS, 'info'),
    http: {
      host: text(env, 'DECNET_API_HOST', '127.0.0.1'),
      port: integer(env, 'DECNET_API_PORT', 8000, 0, 65535),
      corsOrigins: origins(env, 'DECNET_CORS_ORIGINS', 'http://localhost:8080'),
      trustedProxies: addresses(env, 'DECNET_TRUSTED_PROXIES'),
    },
    db: { url: databaseUrl(env, dataDir) },
    bus: {
      redisUrl: redisUrl(env),
      dataDir,
      maxEvents: integer(env, 'DECNET_LOG_MAX_EVENTS', 100_000, 100, 100_000_000),
      maxAgeMs: integer(env, 'DECNET_LOG_MAX_AGE_HOURS', 168, 0, 87_600) * 3_600_000,
      maxBytes: logBytes(env),
      idempotencyMs: integer(env, 'DECNET_IDEMPOTENCY_SECONDS', 600, 1, 86_400) * 1000,
      leaseMs: integer(env, 'DECNET_LEASE_SECONDS', 15, 2, 3600) * 1000,
    },
    keep: kept(env),
    stream: {
      maxPerUser: integer(env, 'DECNET_SSE_MAX_PER_USER', 5, 1, 1_000_000),
      keepaliveMs: integer(env, 'DECNET_SSE_KEEPALIVE_SECONDS', 15, 1, 3600) * 1000,
      stallMs: integer(env, 'DECNET_SSE_STALL_SECONDS', 30, 1, 3600) * 1000,
      retryMs: integer(env, 'DECNET_SSE_RETRY_MS', 3000, 1, 600_000),
      windowBytes: integer(env, 'DECNET_SSE_WINDOW_BYTES', 4 * 1024 * 1024, 0, 1024 ** 3),
    },
    ws: { authMs: integer(env, 'DECNET_WS_AUTH_SECONDS', 10, 1, 300) * 1000 },
    roles: processRoles(env),
    pipeline: {
      substrate: oneOf(env, 'DECNET_SUBSTRATE', SUBSTRATES, 'record'),
      dockerSocket: text(env, 'DECNET_DOCKER_SOCKET', '/var/run/docker.sock'),
      dockerImage: text(env, 'DECNET_DOCKER_IMAGE', 'decnet/decky:latest'),
      mutationInterval: interval(env, 'DECNET_GLOBAL_MUTATION_INTERVAL', '30m'),
      fleetNetwork: network(env, 'DECNET_FLEET_NETWORK', '192.168.60.0/24'),
    },
    supervisor: {
      command: supervisorCommand(env),
      workers: supervisedWorkers(env),
    },
    auth: {
      jwtSecret: jwtSecret(env),
      tokenTtlSeconds: integer(env, 'DECNET_JWT_EXP_MINUTES', 240, 1, 525_600) * 60,
      adminUser: text(env, 'DECNET_ADMIN_USER', 'admin'),
      adminPassword: adminPassword(env),
      queryToken: flag(env, 'DECNET_SSE_QUERY_TOKEN', true),
      limiter: flag(env, 'DECNET_LIMITER_ENABLED', true),
    },
    webhook: {
      allowPrivate: flag(env, 'DECNET_WEBHOOK_ALLOW_PRIVATE', false),
      circuitThreshold: integer(env, 'DECNET_WEBHOOK_CIRCUIT_THRESHOLD', 5, 1, 1_000_000),
      retrySeconds: retrySeconds(env),
      timeoutMs: integer(env, 'DECNET_WEBHOOK_TIMEOUT_SECONDS', 10, 1, 60) * 1000,
      disableAfterMs: integer(env, 'DECNET_WEBHOOK_DISABLE_DAYS', 5, 1, 365) * 86_400_000,
      deliveredMs: integer(env, 'DECNET_WEBHOOK_DELIVERED_HOURS', 24, 1, 8760) * 3_600_000,
      deadMs: integer(env, 'DECNET_WEBHOOK_DEAD_DAYS', 30, 1, 3650) * 86_400_000,
      bounds: {
        events: integer(env, 'DECNET_WEBHOOK_MOST_EVENTS', 100_000, 1, 100_000_000),
        bytes: integer(env, 'DECNET_WEBHOOK_MOST_MB', 256, 1, 1_000_000) * 1024 * 1024,
      },
      keys: sealKeys(env),
    },
    busSocket: {
      path: raw(env, 'DECNET_BUS_SOCKET'),
      group: text(env, 'DECNET_BUS_GROUP', 'decnet'),
      publish: patterns(env, 'DECNET_BUS_PUBLISH'),
      subscribe: patterns(env, 'DECNET_BUS_SUBSCRIBE'),
    },
  };
}

/** An empty value counts as unset: compose files and `.env` templates leave them so. */
function raw(env: Env, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === '' ? undefined : value;
}

function text(env: Env, name: string, fallback: string): string {
  return raw(env, name) ?? fallback;
}

function integer(env: Env, name: string, fallback: number, min: number, max: number): number {
  const value = raw(env, name);
  if (value === undefined) return fallback;
  const number = Number(value);
  if (!/^-?\d+$/.test(value) || number < min || number > max) {
    throw new ConfigError(name, `must be a whole number from ${min} to ${max}`);
  }
  return number;
}

function kept(env: Env): Keep {
  const most = (name: string, kind: keyof ChosenLimits) => integer(env, name, DEFAULT_LIMITS[kind], 1000, 100_000_000);
  return {
    rows: limitsOf({
      lines: most('DECNET_KEEP_LINES', 'lines'),
      commands: most('DECNET_KEEP_COMMANDS', 'commands'),
      actions: most('DECNET_KEEP_ACTIONS', 'actions'),
      attackers: most('DECNET_KEEP_ATTACKERS', 'attackers'),
      identities: most('DECNET_KEEP_IDENTITIES', 'identities'),
      campaigns: most('DECNET_KEEP_CAMPAIGNS', 'campaigns'),
    }),
    maxAgeMs: integer(env, 'DECNET_KEEP_DAYS', 90, 0, 36_500) * 86_400_000,
  };
}

/** Less than a few of the largest events would keep next to nothing for those who come back. */
function logBytes(env: Env): number {
  const [name, least] = ['DECNET_LOG_MAX_BYTES', 16 * 1024 ** 2];
  const value = integer(env, name, 1024 ** 3, 0, 1024 ** 5);
  if (value > 0 && value < least) throw new ConfigError(name, `must be 0 (any number) or at least ${least}`);
  return value;
}

function flag(env: Env, name: string, fallback: boolean): boolean {
  const value = raw(env, name)?.toLowerCase();
  if (value === undefined) return fallback;
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw new ConfigError(name, 'must be true or false');
}

function oneOf<T extends string>(env: Env, name: string, allowed: readonly T[], fallback: T): T {
  const value = raw(env, name);
  if (value === undefined) return fallback;
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw new ConfigError(name, `must be one of ${allowed.join(', ')}`);
  return found;
}

function interval(env: Env, name: string, fallback: string): string {
  const value = text(env, name, fallback);
  if (!/^[1-9]\d{0,4}[mhdwMy]$/.test(value))
    throw new ConfigError(name, 'must be a number with m, h, d, w, M or y, such as 30m');
  return value;
}

function network(env: Env, name: string, fallback: string): string {
  const value = text(env, name, fallback);
  if (parseCidr(value) === undefined) throw new ConfigError(name, 'must be an IPv4 network such as 192.168.60.0/24');
  return value;
}

function origins(env: Env, name: string, fallback: string): string[] {
  const list = words(env, name, fallback);
  for (const origin of list) {
    if (origin === '*') throw new ConfigError(name, 'must list exact origins; * is refused');
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw new ConfigError(name, 'must list origins such as https://soc.example.net (no path, no trailing slash)');
    }
  }
  return list;
}

function addresses(env: Env, name: string): string[] {
  const list = words(env, name, '');
  if (!list.every((address) => isIP(address) > 0))
    throw new ConfigError(name, 'must list IP addresses, no names or networks');
  return list;
}

function patterns(env: Env, name: string): string[] {
  const list = words(env, name, '>');
  for (const pattern of list) {
    try {
      assertPattern(pattern);
    } catch (error) {
      throw new ConfigError(name, `must list topic patterns such as attacker.>: ${describeError(error)}`);
    }
  }
  return list;
}

function supervisorCommand(env: Env): string[] | undefined {
  const command = raw(env, 'DECNET_SUPERVISOR_COMMAND')?.split(/\s+/);
  if (command === undefined || command.some((word) => word.includes(PLACEHOLDER))) return command;
  throw new ConfigError('DECNET_SUPERVISOR_COMMAND', `must say where the name of the worker goes: ${PLACEHOLDER}`);
}

function supervisedWorkers(env: Env): WorkerName[] {
  const name = 'DECNET_SUPERVISOR_WORKERS';
  return words(env, name, KNOWN_WORKERS.join(',')).map((word) => {
    const worker = workerNamed(word);
    if (worker === undefined) throw new ConfigError(name, `must list workers of ${KNOWN_WORKERS.join(', ')}`);
    return worker;
  });
}

/** A comma list. */
function words(env: Env, name: string, fallback: string): string[] {
  return text(env, name, fallback)
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

/** @throws {ConfigError} for a role that there is not, and an empty name */
function processRoles(env: Env): ProcessRoles {
  const list = raw(env, 'ROLES');
  if (list === undefined) return new Set(PROCESS_ROLES);
  const roles = list.split(',').map((name) => {
    const role = PROCESS_ROLES.find((candidate) => candidate === name.trim());
    if (role === undefined) throw new ConfigError('ROLES', `must be a comma list of ${PROCESS_ROLES.join(', ')}`);
    return role;
  });
  return new Set(roles);
}

function databaseUrl(env: Env, dataDir: string): string {
  const url = raw(env, 'DATABASE_URL') ?? `sqlite:${dataDir}/decnet.sqlite`;
  if (!/^(postgres(ql)?:\/\/|sqlite:.)/.test(url)) {
    throw new ConfigError('DATABASE_URL', 'must start with postgres:// or sqlite:');
  }
  return url;
}

function redisUrl(env: Env): string | undefined {
  const url = raw(env, 'REDIS_URL');
  if (url !== undefined && !/^(rediss?:\/\/|unix:\/|\/)/.test(url)) {
    throw new ConfigError('REDIS_URL', 'must start with redis://, rediss:// or be the path of a UNIX socket');
  }
  return url;
}

function jwtSecret(env: Env): string {
  const secret = raw(env, 'DECNET_JWT_SECRET');
  if (secret === undefined) {
    throw new ConfigError('DECNET_JWT_SECRET', 'is required; create one with: openssl rand -hex 32');
  }
  if (secret.length < 32) throw new ConfigError('DECNET_JWT_SECRET', 'must have at least 32 characters');
  if (KNOWN_BAD_SECRET.test(secret)) {
    throw new ConfigError('DECNET_JWT_SECRET', 'is a well-known or trivial value; use: openssl rand -hex 32');
  }
  return secret;
}

function adminPassword(env: Env): string | undefined {
  const password = raw(env, 'DECNET_ADMIN_PASSWORD');
  if (password !== undefined && password.length < 12) {
    throw new ConfigError('DECNET_ADMIN_PASSWORD', 'must have at least 12 characters');
  }
  return password;
}

const RETRY_SECONDS = '1,2,4,30,300,1800,7200,18000,36000,50400,72000';

function retrySeconds(env: Env): number[] {
  const list = words(env, 'DECNET_WEBHOOK_RETRY_SECONDS', RETRY_SECONDS).map(Number);
  if (!list.every((seconds) => seconds > 0 && seconds <= 604_800)) {
    throw new ConfigError('DECNET_WEBHOOK_RETRY_SECONDS', 'must list seconds, each more than 0 and a week at most');
  }
  return list;
}

const KEY_BYTES = 32;
/** The id of the key that nobody configured. */
const DERIVED = 'derived';

function sealKeys(env: Env): [SealKey, ...SealKey[]] {
  const name = 'DECNET_WEBHOOK_KEYS';
  const keys = words(env, name, '').map((word): SealKey => {
    const [, id = '', encoded = ''] = /^([A-Za-z0-9_-]{1,32}):(.+)$/.exec(word) ?? [];
    const key = Buffer.from(encoded, 'base64');
    if (key.byteLength !== KEY_BYTES) {
      throw new ConfigError(name, 'must list <id>:<base64 of 32 bytes>; create a key with: openssl rand -base64 32');
    }
    return { id, key };
  });
  if (new Set([DERIVED, ...keys.map(({ id }) => id)]).size <= keys.length) {
    throw new ConfigError(name, `must not give two keys one id, and none the id ${DERIVED}`);
  }
  const [first, ...others] = keys;
  // What was sealed before there were keys still opens.
  return first === undefined ? [derivedKey(env)] : [first, ...others, derivedKey(env)];
}

/** For who configures none: as secret as the secret that it comes from, and changed with it. */
function derivedKey(env: Env): SealKey {
  const key = hkdfSync('sha256', jwtSecret(env), '', 'decnet-live webhook secrets', KEY_BYTES);
  return { id: DERIVED, key: new Uint8Array(key) };
}
