import { Command, type Redis } from 'ioredis';

/** A Lua script: sent by its hash, and whole when the server does not know it (after a restart, a failover). */
export interface Script {
  /** @returns what the script returns, parsed by the caller */
  run(redis: Redis, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /** The same for whoever has gathered what is to go: not held back for what else the process may have to say. */
  runNow(redis: Redis, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
}

/** @param sources the script; fragments that it needs come first */
export function script(...sources: readonly string[]): Script {
  const source = sources.join('\n');
  const sha = new Bun.CryptoHasher('sha1').update(source).digest('hex');
  const orWhole = async (answer: Promise<unknown>, ...[redis, keys, args]: Parameters<Script['run']>) => {
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
      return redis.eval(source, keys.length, ...keys, ...args);
    }
  };
  return {
    run: (redis, keys, args) => orWhole(redis.evalsha(sha, keys.length, ...keys, ...args), redis, keys, args),
    runNow(redis, keys, args) {
      const command = new Command('evalsha', [sha, keys.length, ...keys, ...args], { replyEncoding: 'utf8' });
      return orWhole(Promise.resolve(redis.sendCommand(command)), redis, keys, args);
    },
  };
}

/** @throws when a script's answer is not a list: the server ran something else than what we sent */
export function asList(answer: unknown): unknown[] {
  if (!Array.isArray(answer)) throw new Error('unexpected answer of a Redis script');
  return answer;
}
