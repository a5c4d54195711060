/** A node that starts on a database: `<url>`. */
import { engineOf, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createLog } from '../../src/telemetry/log.ts';

const [url = ''] = process.argv.slice(2);
const db = openDatabase(url, createLog('error'));
await migrate(db, engineOf(url));
await db.destroy();
