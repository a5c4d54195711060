import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createRateLimits, type RateLimits } from '../../src/auth/rate-limit.ts';
import { type AuthApp, bodyOf, createAuthApp, PEER_HEADER } from './support.ts';

// What is counted is in Redis; the database's engine makes no difference.
describe('routes', () => {
  let app: AuthApp;
  beforeEach(async () => {
    app = await createAuthApp('sqlite', { limiter: true });
    await app.redis.ping();
  });
  afterEach(() => app.dispose());

  const post = async (path: string, body: unknown, peer: string, token?: string) => {
    const response = await app.call('POST', `/auth/${path}`, { token, body, headers: { [PEER_HEADER]: peer } });
    return { status: response.status, body: await bodyOf(response) };
  };
  const login = (username: string, password: string, peer: string) => post('login', { username, password }, peer);
  const limit = 'Rate limit exceeded: 10 per 5 minute';
  const refusal = { status: 429, body: { error: limit, detail: limit } };

  test('a peer has ten logins, whoever it tries to be and whether it succeeds', async () => {
    const { username, password } = await app.member('viewer');
    expect((await login(username, password, '192.0.2.7')).status).toBe(200);
    for (let attempt = 2; attempt <= 10; attempt += 1) {
      expect((await login(`nobody-${attempt}`, 'wrong', '192.0.2.7')).status).toBe(401);
    }
    expect(await login(username, password, '192.0.2.7')).toEqual(refusal);
    expect((await login(username, password, '192.0.2.8')).status).toBe(200);
  });

  test('a refused peer does not use up the attempts of a user', async () => {
    const { username, password } = await app.member('viewer');
    for (let attempt = 0; attempt < 10; attempt += 1) await login(`nobody-${attempt}`, 'wrong', '192.0.2.9');
    for (let attempt = 0; attempt < 12; attempt += 1) {
      expect((await login(username, 'wrong', '192.0.2.9')).status).toBe(429);
    }
    expect((await login(username, password, '192.0.2.10')).status).toBe(200);
  });

  test('requests that do not reach the handler do not count', async () => {
    for (let attempt = 0; attempt < 12; attempt += 1) {
      expect((await post('login', {}, '192.0.2.1')).status).toBe(400);
      expect((await post('login', '{', '192.0.2.1')).status).toBe(422);
      expect((await post('change-password', {}, '192.0.2.1')).status).toBe(401);
    }
    const { token } = await app.member('viewer');
    for (let attempt = 0; attempt < 6; attempt += 1) {
      const tooLong = { old_password: 'x', new_password: 'é'.repeat(40) };
      expect((await post('change-password', tooLong, '192.0.2.1', token)).status).toBe(422);
    }
    expect((await login('nobody', 'wrong', '192.0.2.1')).status).toBe(401);
    const wrong = { old_password: 'wrong', new_password: 'a-new-password' };
    expect((await post('change-password', wrong, '192.0.2.1', token)).status).toBe(401);
  });

  test('a peer has five password changes a minute', async () => {
    const { token, password } = await app.member('viewer');
    const wrong = { old_password: 'wrong', new_password: 'a-new-password' };
    for (let attempt = 0; attempt < 5; attempt += 1) {
      expect((await post('change-password', wrong, '192.0.2.2', token)).status).toBe(401);
    }
    const right = { old_password: password, new_password: 'a-new-password' };
    const limit = 'Rate limit exceeded: 5 per 1 minute';
    const body = { error: limit, detail: limit };
    expect(await post('change-password', right, '192.0.2.2', token)).toEqual({ status: 429, body });
    expect((await post('change-password', right, '192.0.2.3', token)).status).toBe(200);
  });
});

test('the peer is who is connected, not who a forwarded header names', async () => {
  const app = await createAuthApp('sqlite', { limiter: true, peers: 'tcp' });
  await app.redis.ping();
  app.app.listen({ port: 0, hostname: '127.0.0.1' });
  const statuses: number[] = [];
  for (let attempt = 1; attempt <= 11; attempt += 1) {
    const response = await fetch(`http://127.0.0.1:${app.app.server?.port}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': `198.51.100.${attempt}` },
      body: JSON.stringify({ username: `nobody-${attempt}`, password: 'wrong' }),
    });
    statuses.push(response.status);
  }
  expect(statuses).toEqual([...Array(10).fill(401), 429]);
  expect((await app.redis.keys('*login-peer*')).join()).toEndWith(':127.0.0.1');
  await app.app.stop(true);
  await app.dispose();
});

describe('counting', () => {
  let app: AuthApp;
  beforeEach(async () => {
    app = await createAuthApp('sqlite');
    // A connection that is not ready yet counts as a Redis that is down.
    await app.redis.ping();
  });
  afterEach(() => app.dispose());

  /** An attempt with a wrong password. */
  const wrong = async () => undefined;

  /** How many of these logins were let through. */
  async function allowed(limits: readonly RateLimits[], attempts: number): Promise<number> {
    let count = 0;
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      for (const each of limits) {
        await each.login('192.0.2.1', 'somebody', wrong).then(
          () => (count += 1),
          (error) => expect(error).toMatchObject({ code: 'rate_limited' }),
        );
      }
    }
    return count;
  }

  test('is over all nodes', async () => {
    const other = app.redisServer.client();
    await other.ping();
    const nodes = [createRateLimits(app.redis, true), createRateLimits(other, true)];
    expect(await allowed(nodes, 10)).toBe(10);
  });

  test('starts a window with the first attempt, and no later one makes it longer', async () => {
    const limits = createRateLimits(app.redis, true);
    await limits.login('192.0.2.1', 'somebody', wrong);
    const keys = await app.redis.keys('*limit*');
    expect(keys).toHaveLength(2);
    for (const key of keys) {
      expect(await app.redis.ttl(key)).toBeGreaterThan(290);
      await app.redis.expire(key, 100);
    }
    await limits.login('192.0.2.1', 'somebody', wrong);
    for (const key of keys) expect(await app.redis.ttl(key)).toBeLessThanOrEqual(100);
  });

  test('never stores the user name: people type their password there', async () => {
    await createRateLimits(app.redis, true).login('192.0.2.1', 'my-password', async () => 'a user');
    expect((await app.redis.keys('*')).join()).not.toContain('my-password');
  });

  test('goes on in memory while Redis is down', async () => {
    const limits = createRateLimits(app.redis, true);
    await app.redisServer.down();
    expect(await allowed([limits], 15)).toBe(10);
  });

  test('can be switched off', async () => {
    expect(await allowed([createRateLimits(app.redis, false)], 30)).toBe(30);
  });
});
