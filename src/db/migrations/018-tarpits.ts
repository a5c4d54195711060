import type { Migration } from 'kysely/migration';

/** Deckies whose ports keep whoever connects waiting: one rule for each, which goes with its decky. */
export const tarpits: Migration = {
  async up(db) {
    await db.schema
      .createTable('tarpits')
      .addColumn('id', 'text', (column) => column.primaryKey())
      // One of the two.
      .addColumn('decky_uuid', 'text', (column) =>
        column.unique().references('topology_deckies.uuid').onDelete('cascade'),
      )
      .addColumn('fleet_decky', 'text', (column) =>
        column.unique().references('fleet_deckies.name').onDelete('cascade'),
      )
      .addColumn('ports', 'text', (column) => column.notNull())
      .addColumn('delay_ms', 'integer', (column) => column.notNull())
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('created_by', 'text', (column) => column.notNull())
      .execute();
  },
};
