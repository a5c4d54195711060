import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { ACCOUNT_SLOTS, AccountBrake, ALL_SLOTS, FREE_FAILURES } from '../../src/auth/account-brake.ts';
import { createRateLimits } from '../../src/auth/rate-limit.ts';
import { until } from '../support/until.ts';
import { type AuthApp, bodyOf, createAuthApp, PEER_HEADER } from './support.ts';

// What is counted is in Redis; the database's engine makes no difference.
let app: AuthApp;
let owner: Awaited<ReturnType<AuthApp['member']>>;
/** The waits that were asked for, in milliseconds, and what ends those that are held. */
let waits: number[];
let held: (() => void)[];
let isHolding: boolean;
beforeEach(async () => {
  [waits, held, isHolding] = [[], [], false];
  app = await createAuthApp('sqlite', { limiter: true, sleep, verify });
  // A connection that is not ready yet counts as a Redis that is down.
  await app.redis.ping();
  owner = await app.member('viewer');
});
afterEach(() => app.dispose());

/** Hundreds of real ones would take a minute. */
async function verify(password: string, hash: string | undefined): Promise<boolean> {
  return hash !== undefined && password === owner.password;
}

function sleep(ms: number): Promise<void> {
  waits.push(ms);
  return isHolding ? new Promise((resolve) => held.push(resolve)) : Promise.resolve();
}

async function login(password: string, peer: string, username = owner.username) {
  const headers = { [PEER_HEADER]: peer };
  const response = await app.call('POST', '/auth/login', { body: { username, password }, headers });
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await bodyOf(response) };
}
const statusOf = async (password: string, peer: string, username?: string) =>
  (await login(password, peer, username)).status;

/** Wrong passwords from so many addresses, one after the other. */
async function guess(count: number, network = '198.51.100'): Promise<number[]> {
  const statuses: number[] = [];
  for (let host = 1; host <= count; host += 1) statuses.push(await statusOf('wrong', `${network}.${host}`));
  return statuses;
}

describe('the owner signs in from another address', () => {
  test('while one address guesses until it is refused', async () => {
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 15; attempt += 1) statuses.push(await statusOf('wrong', '192.0.2.66'));
    expect(statuses).toEqual([...Array(10).fill(401), ...Array(5).fill(429)]);
    // One address alone does not even slow the account down.
    expect(waits).toEqual([]);
    expect(await statusOf(owner.password, '192.0.2.1')).toBe(200);
    expect(await statusOf(owner.password, '192.0.2.66')).toBe(429);
  });

  test('after a hundred addresses have guessed, at once and as often as allowed', async () => {
    expect(new Set(await guess(100))).toEqual(new Set([401]));
    const before = waits.length;
    for (let attempt = 0; attempt < 10; attempt += 1) expect(await statusOf(owner.password, '192.0.2.1')).toBe(200);
    expect(waits).toHaveLength(before);
  });

  test('while guesses wait in every place, where the account was signed in to before', async () => {
    expect(await statusOf(owner.password, '192.0.2.1')).toBe(200);
    await guess(FREE_FAILURES);
    isHolding = true;
    const guesses = Array.from({ length: ACCOUNT_SLOTS }, (_, host) => statusOf('wrong', `203.0.113.${host}`));
    await until('every place to be taken', () => held.length === ACCOUNT_SLOTS);
    expect(await statusOf(owner.password, '192.0.2.1')).toBe(200);
    // Another address may be another guesser: it is refused before its password is looked at, and told when to come back.
    for (const password of [owner.password, 'wrong']) {
      expect(await login(password, '192.0.2.2')).toEqual({
        status: 429,
        retryAfter: '4',
        body: { detail: 'Too many wrong passwords for this account lately; try again shortly' },
      });
    }
    for (const release of held) release();
    expect(new Set(await Promise.all(guesses))).toEqual(new Set([401]));
    expect(await statusOf(owner.password, '192.0.2.2')).toBe(200);
  });
});

describe('guessing', () => {
  test('costs more with each wrong password beyond the free ones, up to a limit', async () => {
    await guess(FREE_FAILURES + 7);
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 4000, 4000]);
  });

  test('at once from many addresses finds only the free ones and the places', async () => {
    isHolding = true;
    const statuses: number[] = [];
    const guesses = Array.from({ length: 60 }, async (_, host) => {
      statuses.push(await statusOf('wrong', `203.0.113.${host}`));
    });
    await until('the rest to wait', () => held.length + statuses.length === 60);
    expect(held).toHaveLength(ACCOUNT_SLOTS);
    expect(statuses.filter((status) => status === 401)).toHaveLength(FREE_FAILURES);
    expect(statuses.filter((status) => status === 429)).toHaveLength(60 - FREE_FAILURES - ACCOUNT_SLOTS);
    for (const release of held) release();
    await Promise.all(guesses);
  });

  test('from one address takes one place', async () => {
    await guess(FREE_FAILURES);
    isHolding = true;
    const first = statusOf('wrong', '203.0.113.1');
    await until('it to wait', () => held.length === 1);
    expect(await statusOf('wrong', '203.0.113.1')).toBe(429);
    expect(await statusOf(owner.password, '203.0.113.2')).toBe(200);
    for (const release of held) release();
    expect(await first).toBe(401);
  });

  test('at one account slows no other, and a name that nobody has is treated alike', async () => {
    await guess(FREE_FAILURES + 1);
    expect(waits).toEqual([250]);
    for (let host = 1; host <= FREE_FAILURES; host += 1) await statusOf('wrong', `203.0.113.${host}`, 'nobody');
    expect(waits).toEqual([250]);
    await statusOf('wrong', '203.0.113.200', 'nobody');
    expect(waits).toEqual([250, 250]);
  });

  test('is counted over all nodes, and only wrong passwords are', async () => {
    const other = createRateLimits(app.redis, true, sleep);
    for (let host = 1; host <= 20; host += 1) await other.login(`192.0.2.${host}`, owner.username, async () => 'right');
    for (let host = 1; host <= FREE_FAILURES; host += 1) {
      await other.login(`203.0.113.${host}`, owner.username, async () => undefined);
    }
    expect(waits).toEqual([]);
    await guess(1);
    expect(waits).toEqual([250]);
  });

  test('is slowed by each process while Redis is down', async () => {
    await app.redisServer.down();
    expect(new Set(await guess(FREE_FAILURES + 2))).toEqual(new Set([401]));
    expect(waits).toEqual([250, 500]);
    expect(await statusOf(owner.password, '192.0.2.1')).toBe(200);
    expect(waits).toEqual([250, 500]);
  });

  test('at ever so many accounts at once holds no more attempts than a process can bear', async () => {
    const brake = new AccountBrake({
      ...{ redis: app.redis, count: async () => FREE_FAILURES + 1, uncount: async () => {}, sleep },
    });
    const over = Promise.withResolvers<undefined>();
    let underWay = 0;
    const guesses = Array.from({ length: ALL_SLOTS + 3 }, (_, account) =>
      brake
        .attempt(`account ${account}`, '203.0.113.1', () => {
          underWay += 1;
          return over.promise;
        })
        .then(
          () => 'wrong',
          (error: unknown) => String(error),
        ),
    );
    const refusals = await Promise.all(guesses.slice(ALL_SLOTS));
    expect(refusals.join()).toContain('Too many wrong passwords');
    expect(underWay).toBe(ALL_SLOTS);
    over.resolve(undefined);
    expect(new Set(await Promise.all(guesses.slice(0, ALL_SLOTS)))).toEqual(new Set(['wrong']));
  });

  test('gives its place back when the attempt fails otherwise', async () => {
    await guess(FREE_FAILURES);
    const limits = createRateLimits(app.redis, true, sleep);
    const fails = () => Promise.reject(new Error('the database is gone'));
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const outcome = limits.login('203.0.113.1', owner.username, fails);
      expect(await outcome.catch((error: unknown) => String(error))).toBe('Error: the database is gone');
    }
  });
});

test('what is kept names neither the account nor the address it is used from', async () => {
  expect(await statusOf(owner.password, '192.0.2.1')).toBe(200);
  const keys = (await app.redis.keys('*')).filter((key) => !key.includes('login-peer')).join();
  expect(keys).toContain('known-login');
  for (const secret of [owner.username, '192.0.2.1']) expect(keys).not.toContain(secret);
});
