import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { Db } from '../../src/db/database.ts';
import { DEMO_ACCOUNTS, type DemoCredentials, ensureDemoUsers, resetDemoPasswords } from '../../src/demo/users.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';

const RESET_AT = new Date('2026-03-01T10:00:00.500Z');

for (const engine of ENGINES) {
  describe(engine, () => {
    let database: TestDatabase;
    let db: Db;

    beforeAll(async () => {
      database = await createTestDatabase(engine);
      db = database.db;
    });
    afterAll(() => database.dispose());

    /** Fresh accounts for one test: names differ, so that tests share a database in any order. */
    function accounts() {
      const suffix = crypto.randomUUID();
      return DEMO_ACCOUNTS.map(({ username, role }) => ({ username: `${username}-${suffix}`, role }));
    }

    const rowOf = (username: string) =>
      db.selectFrom('users').selectAll().where('username', '=', username).executeTakeFirstOrThrow();

    async function signsIn({ username, password }: Pick<DemoCredentials, 'username' | 'password'>): Promise<boolean> {
      return Bun.password.verify(password, (await rowOf(username)).password_hash);
    }

    test('creates one account for each role, whose passwords open them and need not be changed', async () => {
      const wanted = accounts();
      const created = await ensureDemoUsers(db, wanted);
      expect(created.map(({ username, role }) => ({ username, role }))).toEqual(wanted);
      for (const account of created) {
        expect(account.password).toMatch(/^([a-z]{4}-){4}[a-z]{4}$/);
        expect(await signsIn(account)).toBe(true);
        expect(await rowOf(account.username)).toMatchObject({ role: account.role, must_change_password: 0 });
        expect((await rowOf(account.username)).password_hash).toStartWith('$argon2id$');
      }
      expect(new Set(created.map(({ password }) => password)).size).toBe(created.length);
    });

    test('a second start creates nothing and keeps the passwords', async () => {
      const wanted = accounts();
      const created = await ensureDemoUsers(db, wanted);
      expect(await ensureDemoUsers(db, wanted)).toEqual([]);
      for (const account of created) expect(await signsIn(account)).toBe(true);
    });

    test('two starts at once tell one password for each account, and it is the right one', async () => {
      const wanted = accounts();
      const told = (await Promise.all([ensureDemoUsers(db, wanted), ensureDemoUsers(db, wanted)])).flat();
      expect(told.map(({ username }) => username).sort()).toEqual(wanted.map(({ username }) => username).sort());
      for (const account of told) expect(await signsIn(account)).toBe(true);
    });

    test('a reset replaces the passwords, ends the sessions and tells the other nodes', async () => {
      const wanted = accounts();
      const before = await ensureDemoUsers(db, wanted);
      const after = await resetDemoPasswords(db, wanted, RESET_AT);
      expect(after.map(({ username }) => username)).toEqual(wanted.map(({ username }) => username));
      for (const account of after) expect(await signsIn(account)).toBe(true);
      for (const account of before) expect(await signsIn(account)).toBe(false);
      for (const { username } of wanted) {
        const row = await rowOf(username);
        expect(row.tokens_valid_from).toBe(RESET_AT.toISOString());
        const events = await db.selectFrom('outbox').selectAll().where('payload', 'like', `%${row.uuid}%`).execute();
        expect(events.map(({ topic }) => topic)).toEqual(['system.session.revoked']);
      }
    });

    test('a reset creates the accounts that are missing', async () => {
      const wanted = accounts();
      const credentials = await resetDemoPasswords(db, wanted, RESET_AT);
      expect(credentials).toHaveLength(wanted.length);
      for (const account of credentials) expect(await signsIn(account)).toBe(true);
    });
  });
}
