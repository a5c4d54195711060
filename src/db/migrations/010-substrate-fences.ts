import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Database } from '../schema.ts';

/** Who may change which thing of the substrate, and by which name this database's things are known there. */
export const substrateFences: Migration = {
  async up(db: Kysely<Pick<Database, 'installation'>>) {
    await db.schema
      .createTable('installation')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('last_fence', 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
    // The only row that there ever is.
    await db.insertInto('installation').values({ id: crypto.randomUUID(), last_fence: 0 }).execute();
    await db.schema
      .createTable('substrate_claims')
      .addColumn('thing', 'text', (column) => column.primaryKey())
      .addColumn('fence', 'bigint', (column) => column.notNull())
      .addColumn('expires_at', 'bigint', (column) => column.notNull())
      .execute();
  },
};
