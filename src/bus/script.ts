import type { Redis } from 'ioredis';

/** A Lua script: sent by its hash, and whole when the server does not know it (after a restart, a failover). */
export interface Script {
  /** @returns what the script returns, parsed by the caller */
  run(redis: Redis, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
}

/** @param sources the script; fragments that it needs come first */
export function script(...sources: readonly string[]): Script {
  const source = sources.join('\n');
  const sha = new Bun.CryptoHasher('sha1').update(source).digest('hex');
  return {
    async run(redis, keys, args) {
      try {
        return await redis.evalsha(sha, keys.length, ...keys, ...args);
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
        return redis.eval(source, keys.length, ...keys, ...args);
      }
    },
  };
}

/** @throws when a script's answer is not a list: the server ran something else than what we sent */
export function asList(answer: unknown): unknown[] {
  if (!Array.isArray(answer)) throw new Error('unexpected answer of a Redis script');
  return answer;
}
