import type { Migration } from 'kysely/migration';

/** Who applies a mutation and until when, and the index by which open mutations are found (contract §5.1). */
export const mutationClaims: Migration = {
  async up(db) {
    // One column a statement: SQLite adds no more.
    await db.schema.alterTable('topology_mutations').addColumn('claimed_by', 'text').execute();
    await db.schema.alterTable('topology_mutations').addColumn('claim_expires_at', 'bigint').execute();
    await db.schema
      .alterTable('topology_mutations')
      .addColumn('attempts', 'integer', (column) => column.notNull().defaultTo(0))
      .execute();
    await db.schema.alterTable('topology_mutations').addColumn('reserved_subnet', 'text').execute();
    await db.schema
      .createIndex('topology_mutations_by_state')
      .on('topology_mutations')
      .columns(['state', 'topology_id'])
      .execute();
  },
};
