import { Database } from 'bun:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { type Db, openDatabase } from '../../src/db/database.ts';
import { lockRow } from '../../src/db/row-lock.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { insertTopology } from '../topology/support.ts';

for (const engine of ENGINES) {
  describe(`a locked row on ${engine}`, () => {
    let database: TestDatabase;
    beforeEach(async () => {
      database = await createTestDatabase(engine);
      await insertTopology(database.db, 't1');
      await insertTopology(database.db, 't2');
    });
    afterEach(() => database.dispose());

    const locked = (key: { id: string; version?: number }, db: Db = database.db) =>
      db.transaction().execute((trx) => lockRow(trx, 'topologies', key));

    test('is answered as it is, by all values that name it', async () => {
      const row = await database.db.selectFrom('topologies').selectAll().where('id', '=', 't1').executeTakeFirst();
      expect(await locked({ id: 't1' })).toEqual(row);
      expect(await locked({ id: 't1', version: 1 })).toEqual(row);
      expect(await locked({ id: 't1', version: 2 })).toBeUndefined();
      expect(await locked({ id: "t3' or 'a'='a" })).toBeUndefined();
    });

    test('cannot be named by nothing: that would be every row', async () => {
      await database.db.transaction().execute(async (trx) => {
        await expect(lockRow(trx, 'topologies', {})).rejects.toThrow('that name it');
      });
    });
  });
}

test('on postgres a second one waits for the first, and then sees what that has changed', async () => {
  const database = await createTestDatabase('postgres');
  const other = openDatabase(database.url, quiet);
  await insertTopology(database.db, 't1');
  const finish = Promise.withResolvers<void>();
  const isLocked = Promise.withResolvers<void>();
  const first = database.db.transaction().execute(async (trx) => {
    await lockRow(trx, 'topologies', { id: 't1' });
    isLocked.resolve();
    await finish.promise;
    await trx.updateTable('topologies').set({ version: 8 }).where('id', '=', 't1').execute();
  });
  await isLocked.promise;
  const second = other.transaction().execute((trx) => lockRow(trx, 'topologies', { id: 't1' }));
  await until('the second to wait', async () => {
    const { rows } = await sql`select 1 from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.execute(database.db);
    return rows.length > 0;
  });
  // What refers to the row may come meanwhile: a stronger lock would let two transactions wait for each other.
  await other
    .insertInto('topology_status_events')
    .values({ id: 'e1', topology_id: 't1', from_status: 'active', to_status: 'degraded', at: '', reason: null })
    .execute();
  finish.resolve();
  await first;
  expect((await second)?.version).toBe(8);
  await other.destroy();
  await database.dispose();
});

test('on sqlite nobody else writes until the transaction ends', async () => {
  const database = await createTestDatabase('sqlite');
  await insertTopology(database.db, 't1');
  const other = new Database(database.url.slice('sqlite:'.length));
  other.run('PRAGMA busy_timeout = 0');
  const write = () => other.run(`update topologies set version = version + 1 where id = 't1'`);
  await database.db.transaction().execute(async (trx) => {
    expect((await lockRow(trx, 'topologies', { id: 't1' }))?.version).toBe(1);
    expect(write).toThrow('locked');
  });
  write();
  other.close();
  await database.dispose();
});
