/** A process that owns an embedded Redis: `<data folder>`. It starts when it is told to, and says which server it has. */
import { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { describeError } from '../../src/errors.ts';
import { quiet } from '../support/database.ts';
import { pidOf } from './embedded-support.ts';

const [dataDir = ''] = process.argv.slice(2);
console.log('waiting');
for await (const _ of Bun.stdin.stream()) {
  try {
    const { socket } = await startEmbeddedRedis(dataDir, quiet);
    console.log(`owns ${await pidOf(new Redis(socket))} ${socket}`);
  } catch (error) {
    console.log(`refused: ${describeError(error)}`);
  }
}
