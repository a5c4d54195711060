import { engineOf } from '../../src/db/database.ts';
import { projectingNode } from './support.ts';

/** A process that projects until it is killed: `bun projecting-node.ts <database url> <redis url>`. */
const [, , databaseUrl = '', redisUrl = ''] = process.argv;
await projectingNode(engineOf(databaseUrl), databaseUrl, redisUrl);
