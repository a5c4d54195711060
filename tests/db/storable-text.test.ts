import { expect, test } from 'bun:test';
import { createTestDatabase, ENGINES } from '../support/database.ts';

test.each(ENGINES.map((engine) => [engine]))(
  '%s: what would be stored as something else is refused',
  async (engine) => {
    const { db, dispose } = await createTestDatabase(engine);
    const hold = (holder: string) => db.insertInto('leases').values({ name: holder, holder, expires_at: 1 }).execute();
    for (const text of ['a\0b', 'a\ud800b', '\udc00']) {
      const refused = { code: 'invalid', message: expect.stringContaining('Text must') };
      expect(await hold(text).catch((error: unknown) => error)).toMatchObject(refused);
      const inTransaction = db
        .transaction()
        .execute((trx) => trx.deleteFrom('leases').where('name', '=', text).execute());
      expect(await inTransaction.catch((error: unknown) => error)).toMatchObject(refused);
    }
    await hold('💥 é');
    expect(await db.selectFrom('leases').select('holder').execute()).toEqual([{ holder: '💥 é' }]);
    await dispose();
  },
);
