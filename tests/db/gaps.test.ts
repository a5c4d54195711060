import { afterEach, beforeEach, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { type Db, openDatabase } from '../../src/db/database.ts';
import { createTestDatabase, quiet, type TestDatabase } from '../support/database.ts';

const TIMES = 10;
/** After one of these the file is left to others. */
const WORK_MS = 20;

let database: TestDatabase;
let other: Db;
beforeEach(async () => {
  database = await createTestDatabase('sqlite');
  await sql`create table note (text text not null)`.execute(database.db);
  other = openDatabase(database.url, quiet);
});
afterEach(async () => {
  await other.destroy();
  await database.dispose();
});

const note = (text: string, on: Pick<Db, 'getExecutor'>) => sql`insert into note values (${text})`.execute(on);

/** One who has one transaction after the other, and one who asks for one beside him. @returns what they wrote, in order */
async function written(background: boolean): Promise<string> {
  const db = openDatabase(database.url, quiet, background ? 'background' : 'all');
  try {
    const busy = (async () => {
      for (let time = 0; time < TIMES; time += 1) {
        await db.transaction().execute(async (trx) => {
          await note('b', trx);
          Bun.sleepSync(WORK_MS);
        });
      }
    })();
    const asking = other.transaction().execute((trx) => note('a', trx));
    await Promise.all([busy, asking]);
    const { rows } = await sql<{ text: string }>`select text from note order by rowid`.execute(other);
    return rows.map(({ text }) => text).join('');
  } finally {
    await db.destroy();
  }
}

test('a process that always has something to write leaves the file to others in between', async () => {
  expect(await written(true)).toMatch(/^b{1,2}ab+$/);
});

test('control: without gaps others come after all of it', async () => {
  expect(await written(false)).toBe(`${'b'.repeat(TIMES)}a`);
});
