import { LogHistory } from '../../src/bus/log-history.ts';
import { connectRedis } from '../../src/bus/redis.ts';
import { engineOf, openDatabase } from '../../src/db/database.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { allProjections } from '../../src/projection/start.ts';
import { quiet } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';

/** A process that is killed in the middle of a rebuild: `bun rebuilding-node.ts <database url> <redis url> <name> <steps>`. */
const [, , databaseUrl = '', redisUrl = '', name = '', steps = ''] = process.argv;
const redis = connectRedis(redisUrl, quiet);
await whenReady(redis);
let taken = 0;
await rebuild(
  openDatabase(databaseUrl, quiet),
  new LogHistory(redis.commands),
  allProjections(engineOf(databaseUrl)),
  name,
  {
    onStep() {
      taken += 1;
      if (taken === Number(steps)) process.kill(process.pid, 'SIGKILL');
    },
  },
);
// It had not so many steps.
process.exit(0);
