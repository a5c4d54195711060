/** A process of its own that reads a number and writes it back one higher, so many times: `<database file> <times>`. */
import { Kysely, SqliteDialect } from 'kysely';
import { openBunSqlite } from '../../src/db/bun-sqlite.ts';

const [path = '', times = '0'] = process.argv.slice(2);
const db = new Kysely<{ counter: { n: number } }>({ dialect: new SqliteDialect({ database: openBunSqlite(path) }) });
for (let time = 0; time < Number(times); time += 1) {
  await db.transaction().execute(async (trx) => {
    const { n } = await trx.selectFrom('counter').select('n').executeTakeFirstOrThrow();
    await trx
      .updateTable('counter')
      .set({ n: n + 1 })
      .execute();
  });
}
await db.destroy();
