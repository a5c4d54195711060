import type { Migration } from 'kysely/migration';

/** Counts the holders of each lease, so that what a former holder still does can be told from its successor's. */
export const leaseTerms: Migration = {
  async up(db) {
    await db.schema
      .alterTable('leases')
      .addColumn('term', 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
  },
};
