/** A process of its own that reads a number and writes it back one higher, so many times: `<database file> <times>`. */
import { sql } from 'kysely';
import { openDatabase } from '../../src/db/database.ts';
import { quiet } from '../support/database.ts';

const [path = '', times = '0'] = process.argv.slice(2);
const db = openDatabase(`sqlite:${path}`, quiet);
for (let time = 0; time < Number(times); time += 1) {
  await db.transaction().execute(async (trx) => {
    const { rows } = await sql<{ n: number }>`select n from counter`.execute(trx);
    await sql`update counter set n = ${Number(rows[0]?.n) + 1}`.execute(trx);
  });
}
await db.destroy();
