import { connect } from 'node:net';

/** What a socket says: `absent` that nobody listens, `silent` that somebody does who does not answer. */
export type RedisState = 'ready' | 'loading' | 'silent' | 'absent';

/**
 * Asks a Redis on a UNIX socket whether it answers, over a connection of its own. Never rejects.
 * @param limitMs milliseconds until it is called silent
 */
export function pingRedis(socket: string, limitMs: number): Promise<RedisState> {
  return new Promise((resolve) => {
    const connection = connect({ path: socket });
    const finish = (state: RedisState) => {
      clearTimeout(timer);
      connection.destroy();
      resolve(state);
    };
    const timer = setTimeout(finish, limitMs, 'silent');
    connection.on('connect', () => connection.write('PING\r\n'));
    // Any other error is an answer too: of a server that is busy with a script, for one.
    connection.once('data', (answer) => finish(String(answer).startsWith('-LOADING') ? 'loading' : 'ready'));
    connection.on('error', (error: NodeJS.ErrnoException) => finish(isAbsent(error) ? 'absent' : 'silent'));
    connection.on('close', () => finish('silent'));
  });
}

const isAbsent = ({ code }: NodeJS.ErrnoException) => code === 'ENOENT' || code === 'ECONNREFUSED';
