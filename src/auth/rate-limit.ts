import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { AppError } from '../errors.ts';

/** How often somebody may do something within a fixed window (contract §4.5). */
interface RateLimit {
  readonly points: number;
  readonly minutes: number;
}

const LOGIN: RateLimit = { points: 10, minutes: 5 };
const CHANGE_PASSWORD: RateLimit = { points: 5, minutes: 1 };

/** Counts attempts, successful ones too. All methods throw {@link AppError} `rate_limited`. */
export interface RateLimits {
  /** @param peer address of the TCP peer: forwarded headers can be made up */
  login(peer: string, username: string): Promise<void>;
  changePassword(peer: string): Promise<void>;
}

/**
 * @param redis counts over all nodes; while it is down each node counts for itself
 * @param enabled false: nothing is counted
 */
export function createRateLimits(redis: Redis, enabled: boolean): RateLimits {
  if (!enabled) return { login: async () => {}, changePassword: async () => {} };
  const loginByPeer = limiter(redis, 'login-peer', LOGIN);
  const loginByUsername = limiter(redis, 'login-username', LOGIN);
  const changeByPeer = limiter(redis, 'change-password-peer', CHANGE_PASSWORD);
  return {
    async login(peer, username) {
      await loginByPeer(peer);
      // Only then: what a refused peer keeps sending must not use up the attempts of the user whom it names.
      // Hashed, as people type their password into the wrong field.
      await loginByUsername(new Bun.CryptoHasher('sha256').update(username).digest('hex'));
    },
    changePassword: changeByPeer,
  };
}

function limiter(redis: Redis, name: string, { points, minutes }: RateLimit): (key: string) => Promise<void> {
  const window = { keyPrefix: `{decnet}:limit:${name}`, points, duration: minutes * 60 };
  const counter = new RateLimiterRedis({
    ...window,
    storeClient: redis,
    // A login must not wait for a Redis that is gone.
    rejectIfRedisNotReady: true,
    insuranceLimiter: new RateLimiterMemory(window),
  });
  return async (key) => {
    try {
      await counter.consume(key);
    } catch (error) {
      // The library rejects with its result, no Error, when the points are used up.
      if (!(error instanceof RateLimiterRes)) throw error;
      throw new AppError('rate_limited', `Rate limit exceeded: ${points} per ${minutes} minute`);
    }
  };
}
