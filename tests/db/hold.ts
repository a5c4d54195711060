/** A process of its own with one transaction after the other: `<database file> <leavesGaps: yes or no>`. Each counts up, and works. */
import { sql } from 'kysely';
import { openDatabase } from '../../src/db/database.ts';
import { quiet } from '../support/database.ts';

/** After one of these the file is left to others. */
const WORK_MS = 20;
const [path = '', leavesGaps] = process.argv.slice(2);
const db = openDatabase(`sqlite:${path}`, quiet, { background: leavesGaps === 'yes' });
for (;;) {
  await db.transaction().execute(async (trx) => {
    await sql`update counter set n = n + 1`.execute(trx);
    const end = performance.now() + WORK_MS;
    while (performance.now() < end);
  });
}
