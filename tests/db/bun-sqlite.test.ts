import { Database } from 'bun:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely, SqliteDialect, sql } from 'kysely';
import { openBunSqlite } from '../../src/db/bun-sqlite.ts';
import { openDatabase } from '../../src/db/database.ts';
import { relaxedTransaction } from '../../src/db/relaxed.ts';
import { quiet } from '../support/database.ts';

interface Schema {
  counter: { n: number };
  note: { id: number; text: string | null; size: number | null };
}

let folder: string;
let path: string;
let db: Kysely<Schema>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'decnet-sqlite-'));
  path = join(folder, 'test.sqlite');
  db = new Kysely<Schema>({ dialect: new SqliteDialect({ database: openBunSqlite(path) }) });
  await sql`create table counter (n integer not null)`.execute(db);
  await sql`create table note (id integer primary key, text text, size real)`.execute(db);
  await db.insertInto('counter').values({ n: 0 }).execute();
});
afterEach(async () => {
  await db.destroy();
  await rm(folder, { recursive: true, force: true });
});

describe('through Kysely, bun:sqlite', () => {
  test('binds and returns values as they are', async () => {
    const text = `'; drop table note; -- ä😀\u0000\n`;
    const rows = [
      { id: 1, text, size: 1.5 },
      { id: 2, text: null, size: null },
    ];
    await db.insertInto('note').values(rows).execute();
    expect(await db.selectFrom('note').selectAll().orderBy('id').execute()).toEqual(rows);
    expect(await db.selectFrom('note').select('id').where('text', '=', text).execute()).toEqual([{ id: 1 }]);
  });

  test('tells rows that were changed, and returns what was asked for', async () => {
    await db
      .insertInto('note')
      .values([1, 2, 3].map((id) => ({ id, text: 'a', size: null })))
      .execute();
    const { numUpdatedRows } = await db
      .updateTable('note')
      .set({ text: 'b' })
      .where('id', '>', 1)
      .executeTakeFirstOrThrow();
    expect(numUpdatedRows).toBe(2n);
    const returned = await db
      .updateTable('note')
      .set({ size: 2 })
      .where('id', '=', 3)
      .returning(['id', 'size'])
      .execute();
    expect(returned).toEqual([{ id: 3, size: 2 }]);
    expect((await db.deleteFrom('note').executeTakeFirstOrThrow()).numDeletedRows).toBe(3n);
  });

  test('streams rows', async () => {
    await db
      .insertInto('note')
      .values([1, 2, 3].map((id) => ({ id, text: null, size: null })))
      .execute();
    const ids = [];
    for await (const { id } of db.selectFrom('note').select('id').orderBy('id').stream()) ids.push(id);
    expect(ids).toEqual([1, 2, 3]);
  });

  test('runs the same statement again with other values, and after the schema has changed', async () => {
    const insert = (id: number) =>
      db
        .insertInto('note')
        .values({ id, text: `t${id}`, size: null })
        .execute();
    await insert(1);
    await sql`alter table note add column more text default 'x'`.execute(db);
    await insert(2);
    expect(await sql`select * from note order by id`.execute(db)).toHaveProperty('rows', [
      { id: 1, text: 't1', size: null, more: 'x' },
      { id: 2, text: 't2', size: null, more: 'x' },
    ]);
  });

  test('rolls a failed transaction back and goes on', async () => {
    const failing = db.transaction().execute(async (trx) => {
      await trx.updateTable('counter').set({ n: 99 }).execute();
      throw new Error('on purpose');
    });
    await expect(failing).rejects.toThrow('on purpose');
    expect(await db.selectFrom('counter').selectAll().execute()).toEqual([{ n: 0 }]);
  });

  test('checks foreign keys', async () => {
    await sql`create table child (note_id integer not null references note (id))`.execute(db);
    await expect(sql`insert into child values (7)`.execute(db)).rejects.toThrow(/foreign key/i);
  });

  test('writes ahead and waits for the disk: a commit is a promise to publish', async () => {
    const pragma = async (name: string) => (await sql`pragma ${sql.raw(name)}`.execute(db)).rows;
    expect(await pragma('journal_mode')).toEqual([{ journal_mode: 'wal' }]);
    expect(await pragma('synchronous')).toEqual([{ synchronous: 2 }]);
    // Whoever waits for another process does not sleep in this thread.
    expect(await pragma('busy_timeout')).toEqual([{ timeout: 0 }]);
  });
});

describe('a transaction that does not wait for the disk', () => {
  test('is the only one that does not, and each time', async () => {
    const url = `sqlite:${path}`;
    const opened = openDatabase(url, quiet);
    const level = async (on: typeof opened) =>
      (await sql<{ synchronous: number }>`pragma synchronous`.execute(on)).rows[0]?.synchronous;
    try {
      for (let time = 0; time < 2; time += 1) {
        expect(await relaxedTransaction(opened, 'sqlite', (trx) => level(trx))).toBe(1);
        expect(await level(opened)).toBe(2);
      }
      const failing = relaxedTransaction(opened, 'sqlite', async () => {
        throw new Error('on purpose');
      });
      await expect(failing).rejects.toThrow('on purpose');
      expect(await level(opened)).toBe(2);
    } finally {
      await opened.destroy();
    }
  });
});

describe('two processes on one file', () => {
  test('wait for the lock of the other without holding up the event loop', async () => {
    const opened = openDatabase(`sqlite:${path}`, quiet);
    const other = new Database(path);
    try {
      other.run('begin immediate');
      const writing = sql`update counter set n = n + 1`.execute(opened);
      const inTransaction = opened.transaction().execute((trx) => sql`update counter set n = n + 1`.execute(trx));
      // The lock is given back by the thread that waits for it: one that slept there would never get it.
      await Bun.sleep(0);
      other.run('commit');
      await Promise.all([writing, inTransaction]);
      expect(await db.selectFrom('counter').selectAll().execute()).toEqual([{ n: 2 }]);
    } finally {
      other.close();
      await opened.destroy();
    }
  });

  test('that read before they write wait for each other: no update is lost and none fails', async () => {
    const TIMES = 100;
    const processes = [1, 2].map(() =>
      Bun.spawn([process.execPath, join(import.meta.dir, 'count-up.ts'), path, String(TIMES)], { stderr: 'inherit' }),
    );
    expect(await Promise.all(processes.map(({ exited }) => exited))).toEqual([0, 0]);
    expect(await db.selectFrom('counter').selectAll().execute()).toEqual([{ n: 2 * TIMES }]);
  });

  test('control: a transaction that takes the write lock late fails, and no waiting helps', () => {
    const [first, second] = [new Database(path), new Database(path)];
    try {
      first.run('PRAGMA busy_timeout = 5000');
      first.run('begin');
      first.query('select n from counter').get();
      second.run('update counter set n = 1');
      expect(() => first.run('update counter set n = 2')).toThrow(/locked/);
    } finally {
      first.close();
      second.close();
    }
  });

  test('a reader sees one state while another writes', async () => {
    await db.transaction().execute(async (trx) => {
      await trx.updateTable('counter').set({ n: 5 }).execute();
      const reader = new Database(path, { readonly: true });
      expect(reader.query('select n from counter').all()).toEqual([{ n: 0 }]);
      reader.close();
    });
  });
});
