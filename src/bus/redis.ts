import { Redis, type RedisOptions } from 'ioredis';
import type { Log } from '../telemetry/log.ts';
import { within } from './within.ts';

/** The Redis connections of one process. Their number does not depend on how many clients are connected. */
export interface RedisConnections {
  /** Publishing, positions, leases: fails fast when Redis is down. */
  readonly commands: Redis;
  /** Replay of history: large answers, kept apart so that nothing else waits behind them. */
  readonly replay: readonly Redis[];
  /** A connection for the tail's blocking reads. It ends where it breaks: the tail opens another. */
  openTail(): Redis;
  close(): void;
}

type RoleOptions = Pick<
  RedisOptions,
  'maxRetriesPerRequest' | 'commandTimeout' | 'enableAutoPipelining' | 'retryStrategy'
>;

const REPLAY_CONNECTIONS = 2;
/** A publisher that hears nothing for so long gives up; publishing is idempotent, so it may try again. */
const COMMAND_TIMEOUT_MS = 5000;
/** The tail's BLOCK: an idle one hears from Redis so often. */
export const TAIL_BLOCK_MS = 1000;
/**
 * A connection that owes an answer and is silent for so long is dead, whatever TCP says: dropped by a firewall or a
 * failover without a word. It is closed and opened again. Longer than any answer takes. (ioredis' `blockingTimeout` is no
 * such watchdog: it answers null by itself and keeps the socket.)
 */
const SILENCE_MS = 6000;

/**
 * @param url `redis://…`, `rediss://…` or the path of a UNIX socket
 */
export function connectRedis(url: string, logger: Log): RedisConnections {
  const create = (role: string, options: RoleOptions) =>
    new Redis(url, {
      connectionName: `decnet-${role}`,
      retryStrategy: reconnectDelay,
      connectTimeout: 3000,
      socketTimeout: SILENCE_MS,
      ...options,
    });
  const open = (role: string, options: RoleOptions) => {
    const client = create(role, options);
    logOutages(client, role, logger);
    return client;
  };
  const commands = open('commands', {
    maxRetriesPerRequest: 1,
    commandTimeout: COMMAND_TIMEOUT_MS,
    enableAutoPipelining: true,
  });
  const replay = Array.from({ length: REPLAY_CONNECTIONS }, () =>
    // No second try by itself: an XREADGROUP whose answer was lost has moved the group, and sent again it answers "nothing
    // more". The reader must hear of the failure to move the group back.
    open('replay', { maxRetriesPerRequest: 0, commandTimeout: COMMAND_TIMEOUT_MS, enableAutoPipelining: true }),
  );
  const all = [commands, ...replay];
  return {
    commands,
    replay,
    openTail: () => {
      const tail = create('tail', { retryStrategy: () => null, maxRetriesPerRequest: 0 });
      tail.on('error', () => {}); // The tail says it, once for all attempts.
      return tail;
    },
    // Not quit(): it would wait for a server that is away.
    close: () => {
      for (const client of all) client.disconnect();
    },
  };
}

/**
 * Milliseconds before the nth attempt: quick at first, half a second at most, jittered so that nodes do not come at once.
 * A command given while Redis is down fails with the second attempt from then on, so this bounds how long callers wait.
 */
export function reconnectDelay(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 6), 500) * (0.5 + Math.random() / 2);
}

/**
 * Waits until a connection may be used. Not by sending a command: one that is given before the connection is ready and
 * meets its end may settle never (ioredis 6).
 * @param ms milliseconds to wait
 * @throws when it ends before, or is not ready in time
 */
export async function connected(client: Redis, ms: number): Promise<void> {
  if (client.status === 'ready') return;
  const ready = Promise.withResolvers<void>();
  const onReady = () => ready.resolve();
  const onEnd = () => ready.reject(new Error('the connection to Redis ended'));
  client.once('ready', onReady);
  client.once('end', onEnd);
  try {
    await within(ready.promise, ms, 'a connection to Redis');
  } finally {
    client.off('ready', onReady);
    client.off('end', onEnd);
  }
}

/** One line when a connection is lost and one when it is back, however often the attempts between fail. */
function logOutages(client: Redis, role: string, logger: Log): void {
  let down = false;
  client.on('error', (error: Error) => {
    if (!down) logger.warn('redis connection lost', { role, error: error.message });
    down = true;
  });
  client.on('ready', () => {
    if (down) logger.info('redis connection is back', { role });
    down = false;
  });
}
