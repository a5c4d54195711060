import type { Migration } from 'kysely/migration';

/** Deckies whose ports keep whoever connects waiting. */
export const tarpits: Migration = {
  async up(db) {
    await db.schema
      .createTable('tarpits')
      .addColumn('id', 'text', (column) => column.primaryKey())
      // The topology and the decky, or only the decky of the fleet: one rule for each.
      .addColumn('thing', 'text', (column) => column.notNull().unique())
      .addColumn('topology_id', 'text', (column) => column.references('topologies.id').onDelete('cascade'))
      .addColumn('decky_name', 'text', (column) => column.notNull())
      .addColumn('ports', 'text', (column) => column.notNull())
      .addColumn('delay_ms', 'integer', (column) => column.notNull())
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('created_by', 'text', (column) => column.notNull())
      .execute();
    await db.schema.createIndex('tarpits_topology').on('tarpits').column('topology_id').execute();
  },
};
