import { afterEach, beforeEach, expect, test } from 'bun:test';
import { join } from 'node:path';
import { sql } from 'kysely';
import { type Db, openDatabase } from '../../src/db/database.ts';
import { createTestDatabase, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let db: Db;
let busy: Bun.Subprocess | undefined;
beforeEach(async () => {
  database = await createTestDatabase('sqlite');
  await sql`create table counter (n integer not null)`.execute(database.db);
  await sql`insert into counter values (0)`.execute(database.db);
  db = openDatabase(database.url, quiet);
});
afterEach(async () => {
  busy?.kill('SIGKILL');
  await busy?.exited;
  await db.destroy();
  await database.dispose();
});

const TIMES = 15;

/** Writes some times beside a process that writes all the time. @returns how many transactions of it went before */
async function passedBy(leavesGaps: 'yes' | 'no'): Promise<number> {
  const path = database.url.slice('sqlite:'.length);
  busy = Bun.spawn([process.execPath, join(import.meta.dir, 'hold.ts'), path, leavesGaps], { stderr: 'inherit' });
  const count = async (on: Pick<Db, 'getExecutor'>) =>
    Number((await sql<{ n: number }>`select n from counter`.execute(on)).rows[0]?.n);
  let passed = 0;
  for (let time = 0; time < TIMES; time += 1) {
    // It has not just waited itself.
    const seen = await count(db);
    await until('it to be at work', async () => (await count(db)) > seen + 1);
    const before = await count(db);
    passed += (await db.transaction().execute(count)) - before;
  }
  return passed;
}

test('a process that always has something to write leaves the file to others in between', async () => {
  expect(await passedBy('yes')).toBeLessThanOrEqual(2 * TIMES);
});

test('control: without gaps it goes before them again and again', async () => {
  expect(await passedBy('no')).toBeGreaterThan(2 * TIMES);
});
