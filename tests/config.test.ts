import { describe, expect, test } from 'bun:test';
import { type Config, ConfigError, loadConfig, REPLACED } from '../src/config.ts';
import { PROCESS_ROLES } from '../src/roles.ts';
import { KNOWN_WORKERS } from '../src/worker/heartbeat-projection.ts';

const SECRET = 'b64f0e7c91d2a8535e6f7a8190b2c3d4';
const required = { DECNET_JWT_SECRET: SECRET };

/** The error of a configuration that must be refused. */
function refusal(env: Record<string, string>): ConfigError {
  try {
    loadConfig({ ...required, ...env });
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

describe('defaults', () => {
  const defaults: Config = {
    developer: false,
    logLevel: 'info',
    http: { host: '127.0.0.1', port: 8000, corsOrigins: ['http://localhost:8080'], trustedProxies: [] },
    db: { url: 'sqlite:.data/decnet.sqlite' },
    bus: {
      redisUrl: undefined,
      dataDir: '.data',
      maxEvents: 100_000,
      maxAgeMs: 168 * 3_600_000,
      maxBytes: 1024 ** 3,
      idempotencyMs: 600_000,
      leaseMs: 15_000,
    },
    keep: {
      rows: {
        ...{ lines: 1_000_000, commands: 1_000_000, actions: 100_000, emails: 100_000 },
        ...{ attackers: 100_000, attacker_uuids: 200_000, linked: 200_000 },
        ...{ identities: 100_000, attributed: 100_000, members: 100_000, campaigns: 10_000 },
      },
      maxAgeMs: 90 * 86_400_000,
    },
    stream: { maxPerUser: 5, keepaliveMs: 15_000, stallMs: 30_000, retryMs: 3000, windowBytes: 4_194_304 },
    ws: { authMs: 10_000 },
    roles: new Set(PROCESS_ROLES),
    pipeline: {
      substrate: 'record',
      dockerSocket: '/var/run/docker.sock',
      dockerImage: 'decnet/decky:latest',
      mutationInterval: '30m',
      fleetNetwork: '192.168.60.0/24',
    },
    supervisor: { command: undefined, workers: KNOWN_WORKERS },
    auth: {
      jwtSecret: SECRET,
      tokenTtlSeconds: 240 * 60,
      adminUser: 'admin',
      adminPassword: undefined,
      queryToken: true,
      limiter: true,
    },
    webhook: {
      allowPrivate: false,
      circuitThreshold: 5,
      retrySeconds: [1, 2, 4, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000],
      timeoutMs: 10_000,
      disableAfterMs: 5 * 86_400_000,
      deliveredMs: 86_400_000,
      deadMs: 30 * 86_400_000,
      bounds: { events: 100_000, bytes: 256 * 1024 * 1024 },
      keys: [{ id: 'derived', key: expect.any(Uint8Array) }],
    },
    busSocket: { path: undefined, group: 'decnet', publish: ['>'], subscribe: ['>'] },
  };

  test('apply when nothing but the secret is set', () => {
    expect(loadConfig(required)).toEqual(defaults);
  });

  test('apply to a variable that is empty or blank', () => {
    const blank = new Proxy<Record<string, string>>(required, {
      get: (target, name: string) => target[name] ?? '  ',
    });
    expect(loadConfig(blank)).toEqual(defaults);
  });
});

describe('values', () => {
  test('are read in the unit that their names say', () => {
    const config = loadConfig({
      ...required,
      DECNET_LOG_MAX_AGE_HOURS: '2',
      DECNET_LOG_MAX_BYTES: '0',
      DECNET_IDEMPOTENCY_SECONDS: '30',
      DECNET_LEASE_SECONDS: '5',
      DECNET_SSE_KEEPALIVE_SECONDS: '7',
      DECNET_SSE_STALL_SECONDS: '9',
      DECNET_SSE_RETRY_MS: '250',
      DECNET_JWT_EXP_MINUTES: '3',
      DECNET_KEEP_DAYS: '2',
    });
    expect(config.bus).toMatchObject({ maxAgeMs: 7_200_000, maxBytes: 0, idempotencyMs: 30_000, leaseMs: 5000 });
    expect(config.stream).toMatchObject({ keepaliveMs: 7000, stallMs: 9000, retryMs: 250 });
    expect(config.auth.tokenTtlSeconds).toBe(180);
    expect(config.keep.maxAgeMs).toBe(172_800_000);
  });

  test('the SQLite file follows the data folder', () => {
    expect(loadConfig({ ...required, DECNET_DATA_DIR: '/srv/decnet' })).toMatchObject({
      db: { url: 'sqlite:/srv/decnet/decnet.sqlite' },
      bus: { dataDir: '/srv/decnet' },
    });
  });

  test.each([
    ['true', true],
    ['TRUE', true],
    ['1', true],
    ['false', false],
    ['0', false],
  ])('a switch takes %s', (value, expected) => {
    expect(loadConfig({ ...required, DECNET_DEVELOPER: value, DECNET_SSE_QUERY_TOKEN: value })).toMatchObject({
      developer: expected,
      auth: { queryToken: expected },
    });
  });

  test.each(['postgres://db.example.net/decnet', 'postgresql://db.example.net/decnet', 'sqlite::memory:'])(
    'DATABASE_URL takes %s',
    (url) => {
      expect(loadConfig({ ...required, DATABASE_URL: url }).db.url).toBe(url);
    },
  );

  test.each([
    'redis://cache.example.net:6379',
    'rediss://cache.example.net',
    '/run/redis.sock',
    'unix:/run/redis.sock',
  ])('REDIS_URL takes %s', (url) => {
    expect(loadConfig({ ...required, REDIS_URL: url }).bus.redisUrl).toBe(url);
  });

  test('several origins are separated by commas', () => {
    const { http } = loadConfig({
      ...required,
      DECNET_CORS_ORIGINS: 'https://a.example.net, https://b.example.net:8443,',
    });
    expect(http.corsOrigins).toEqual(['https://a.example.net', 'https://b.example.net:8443']);
  });
});

describe('roles', () => {
  test('are those that are listed, with white space between them or none', () => {
    expect(loadConfig({ ...required, ROLES: ' api, relay,mutator' }).roles).toEqual(
      new Set(['api', 'relay', 'mutator']),
    );
  });
});

describe('a value that cannot be used stops the start and names its variable', () => {
  test.each([
    ['DECNET_DEVELOPER', 'yes'],
    ['DECNET_LOG_LEVEL', 'verbose'],
    ['DECNET_TRUSTED_PROXIES', '10.0.0.0/8'],
    ['DECNET_LOG_MAX_BYTES', '1000000'],
    ['ROLES', 'api,painter'],
    ['ROLES', 'api,,relay'],
    ['ROLES', 'relay,'],
    ['ROLES', 'API'],
    ['DECNET_WORKERS', 'false'],
    ['DECNET_WORKERS', 'true'],
    ['DECNET_SUBSTRATE', 'podman'],
    ['DECNET_GLOBAL_MUTATION_INTERVAL', 'soon'],
    // What the rotator could not use would silently mean: never.
    ['DECNET_GLOBAL_MUTATION_INTERVAL', '30s'],
    ['DECNET_FLEET_NETWORK', '192.168.60.7/24'],
    ['DECNET_SUPERVISOR_COMMAND', 'systemctl start decnet'],
    ['DECNET_SUPERVISOR_WORKERS', 'mutator,barista'],
    ['DECNET_API_PORT', '65536'],
    ['DECNET_API_PORT', '-1'],
    ['DECNET_API_PORT', '80.5'],
    ['DECNET_API_PORT', '0x50'],
    ['DECNET_API_PORT', '8e3'],
    ['DECNET_API_PORT', 'http'],
    ['DECNET_CORS_ORIGINS', '*'],
    ['DECNET_CORS_ORIGINS', 'https://soc.example.net/'],
    ['DECNET_CORS_ORIGINS', 'https://soc.example.net/path'],
    ['DECNET_CORS_ORIGINS', 'soc.example.net'],
    ['DECNET_CORS_ORIGINS', 'https://soc.example.net,*'],
    ['DATABASE_URL', 'mysql://db.example.net/decnet'],
    ['DATABASE_URL', 'sqlite:'],
    ['REDIS_URL', 'http://cache.example.net'],
    ['DECNET_LOG_MAX_EVENTS', '99'],
    ['DECNET_LOG_MAX_AGE_HOURS', '-1'],
    ['DECNET_IDEMPOTENCY_SECONDS', '0'],
    ['DECNET_LEASE_SECONDS', '1'],
    ['DECNET_SSE_MAX_PER_USER', '0'],
    ['DECNET_SSE_KEEPALIVE_SECONDS', '0'],
    ['DECNET_SSE_STALL_SECONDS', '0'],
    ['DECNET_SSE_RETRY_MS', '0'],
    ['DECNET_SSE_WINDOW_BYTES', '-1'],
    ['DECNET_SSE_QUERY_TOKEN', 'on'],
    ['DECNET_JWT_SECRET', ''],
    ['DECNET_JWT_EXP_MINUTES', '0'],
    ['DECNET_ADMIN_PASSWORD', 'eleven char'],
    ['DECNET_LIMITER_ENABLED', '2'],
    ['DECNET_BUS_PUBLISH', 'attacker.>,decky..state'],
    ['DECNET_BUS_SUBSCRIBE', 'system.>.control'],
  ])('%s=%s', (variable, value) => {
    expect(refusal({ [variable]: value }).message).toStartWith(`${variable} `);
  });

  test('DECNET_WORKERS=false, and says which roles are the same', () => {
    expect(refusal({ DECNET_WORKERS: 'false' }).message).toContain('ROLES=api,bus-socket,relay,housekeeper');
  });

  test.each([
    'short-but-unguessable-8412',
    'x'.repeat(64),
    'my-secret-key-that-everybody-would-guess',
    'changeme-changeme-changeme-changeme',
    'PASSWORDPASSWORDPASSWORDPASSWORD1',
    'an-example-of-a-key-out-of-the-docs',
  ])('a signing key that is short or well known: %s', (secret) => {
    expect(refusal({ DECNET_JWT_SECRET: secret }).message).toStartWith('DECNET_JWT_SECRET ');
  });

  test.each([
    ['DECNET_JWT_SECRET', 'tooShort-9f8e7d'],
    ['DECNET_JWT_SECRET', 'not-a-secret-any-more-9f8e7d6c5b4a'],
    ['DECNET_ADMIN_PASSWORD', 'hunter22'],
    ['DATABASE_URL', 'mysql://decnet:hunter22@db.example.net/decnet'],
    ['REDIS_URL', 'redis//:hunter22@cache.example.net'],
  ])('without repeating what %s held', (variable, value) => {
    const error = refusal({ [variable]: value });
    expect(`${error.message} ${error.stack}`).not.toContain(value);
    expect(`${error.message} ${error.stack}`).not.toContain('hunter22');
  });
});

describe('.env.example', () => {
  const example = () => Bun.file(`${import.meta.dir}/../.env.example`).text();

  /** `# NAME=value` lines: the variables, commented out. */
  async function offered(): Promise<Record<string, string>> {
    const lines = (await example()).matchAll(/^# ([A-Z][A-Z0-9_]*)=(.*)$/gm);
    return Object.fromEntries(Array.from(lines, ([, name = '', value = '']) => [name, value]));
  }

  test('names every variable that is read, and no other', async () => {
    const read = new Set<string>();
    const watched = new Proxy<Record<string, string>>(required, {
      get(target, name: string) {
        if (!(name in REPLACED)) read.add(name);
        return target[name];
      },
    });
    loadConfig(watched);
    expect(Object.keys(await offered()).sort()).toEqual([...read].sort());
  });

  test('shows the defaults', async () => {
    expect(loadConfig({ ...(await offered()), ...required })).toEqual(loadConfig(required));
  });

  test('sets nothing as it stands', async () => {
    for (const line of (await example()).split('\n')) expect(line).toMatch(/^(#.*)?$/);
  });
});
