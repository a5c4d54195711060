import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { AppError } from '../errors.ts';
import { AccountBrake } from './account-brake.ts';

/** How often somebody may do something within a fixed window (contract §4.5). */
interface RateLimit {
  readonly points: number;
  readonly minutes: number;
}

const LOGIN: RateLimit = { points: 10, minutes: 5 };
const CHANGE_PASSWORD: RateLimit = { points: 5, minutes: 1 };
const CREATE_WEBHOOK: RateLimit = { points: 20, minutes: 1 };

/** Counts attempts. All methods throw {@link AppError} `rate_limited`. */
export interface RateLimits {
  /**
   * Attempts to sign in. Successful attempts count for their address, too; for the account only wrong ones do, which slow
   * it down ({@link AccountBrake}).
   * @param peer address of the TCP peer: forwarded headers can be made up
   * @param attempt answers undefined for a wrong password
   * @throws {AppError} `too_many_attempts` besides
   */
  login<T>(peer: string, username: string, attempt: () => Promise<T | undefined>): Promise<T | undefined>;
  changePassword(peer: string): Promise<void>;
  createWebhook(peer: string): Promise<void>;
}

/**
 * @param redis counts over all nodes; while it is down each node counts for itself
 * @param enabled false: nothing is counted
 * @param sleep waits for milliseconds; a test holds it
 */
export function createRateLimits(
  redis: Redis,
  enabled: boolean,
  sleep: (ms: number) => Promise<unknown> = Bun.sleep,
): RateLimits {
  if (!enabled)
    return {
      login: (_peer, _username, attempt) => attempt(),
      changePassword: async () => {},
      createWebhook: async () => {},
    };
  const loginByPeer = limiter(redis, 'login-peer', LOGIN);
  const changeByPeer = limiter(redis, 'change-password-peer', CHANGE_PASSWORD);
  const byAccount = counter(redis, 'login-account', LOGIN);
  const brake = new AccountBrake({
    redis,
    sleep,
    count: async (account) => (await byAccount.penalty(account)).consumedPoints,
    uncount: async (account) => {
      await byAccount.reward(account);
    },
  });
  return {
    async login(peer, username, attempt) {
      await loginByPeer(peer);
      // Only then: what a refused peer keeps sending must not slow the account that it names.
      // Hashed, as people type their password into the wrong field.
      return brake.attempt(new Bun.CryptoHasher('sha256').update(username).digest('hex'), peer, attempt);
    },
    changePassword: changeByPeer,
    createWebhook: limiter(redis, 'create-webhook-peer', CREATE_WEBHOOK),
  };
}

function counter(redis: Redis, name: string, { points, minutes }: RateLimit): RateLimiterRedis {
  const window = { keyPrefix: `{decnet}:limit:${name}`, points, duration: minutes * 60 };
  return new RateLimiterRedis({
    ...window,
    storeClient: redis,
    // A login must not wait for a Redis that is gone.
    rejectIfRedisNotReady: true,
    insuranceLimiter: new RateLimiterMemory(window),
  });
}

function limiter(redis: Redis, name: string, limit: RateLimit): (key: string) => Promise<void> {
  const counted = counter(redis, name, limit);
  return async (key) => {
    try {
      await counted.consume(key);
    } catch (error) {
      // The library rejects with its result, no Error, when the points are used up.
      if (!(error instanceof RateLimiterRes)) throw error;
      throw new AppError('rate_limited', `Rate limit exceeded: ${limit.points} per ${limit.minutes} minute`);
    }
  };
}
