import { Redis, type RedisOptions } from 'ioredis';
import type { Log } from '../telemetry/log.ts';

/** The Redis connections of one process. Their number does not depend on how many clients are connected. */
export interface RedisConnections {
  /** Publishing, positions, leases: fails fast when Redis is down. */
  readonly commands: Redis;
  /** Replay of history: large answers, kept apart so that nothing else waits behind them. */
  readonly replay: readonly Redis[];
  /** The tail's blocking reads. Waits for Redis for ever. */
  readonly tail: Redis;
  /** Resolves when every connection is ready. */
  ready(): Promise<void>;
  close(): void;
}

type RoleOptions = Pick<RedisOptions, 'maxRetriesPerRequest' | 'commandTimeout' | 'enableAutoPipelining'>;

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
export function connectRedis(url: string, log: Log): RedisConnections {
  const open = (role: string, options: RoleOptions) => {
    const client = new Redis(url, {
      connectionName: `decnet-${role}`,
      retryStrategy: reconnectDelay,
      connectTimeout: 3000,
      socketTimeout: SILENCE_MS,
      ...options,
    });
    logOutages(client, role, log);
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
    open('replay', { maxRetriesPerRequest: 0, enableAutoPipelining: true }),
  );
  const tail = open('tail', { maxRetriesPerRequest: null });
  const all = [commands, ...replay, tail];
  return {
    commands,
    replay,
    tail,
    async ready() {
      await Promise.all(all.map(untilReady));
    },
    // Not quit(): it would wait behind the tail's BLOCK.
    close: () => {
      for (const client of all) client.disconnect();
    },
  };
}

/**
 * Milliseconds before the nth attempt: quick at first, half a second at most, jittered so that nodes do not come at once.
 * A command given while Redis is down fails with the second attempt from then on, so this bounds how long callers wait.
 */
function reconnectDelay(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 6), 500) * (0.5 + Math.random() / 2);
}

function untilReady(client: Redis): Promise<void> {
  if (client.status === 'ready') return Promise.resolve();
  return new Promise((resolve) => client.once('ready', () => resolve()));
}

/** One line when a connection is lost and one when it is back, however often the attempts between fail. */
function logOutages(client: Redis, role: string, log: Log): void {
  let down = false;
  client.on('error', (error: Error) => {
    if (!down) log.warn('redis connection lost', { role, error: error.message });
    down = true;
  });
  client.on('ready', () => {
    if (down) log.info('redis connection is back', { role });
    down = false;
  });
}
