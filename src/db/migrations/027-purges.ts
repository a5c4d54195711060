import type { Migration } from 'kysely/migration';

/** Purges that an administrator asked for, by the events that tell of them: whoever else publishes such an event purges nothing. */
export const purges: Migration = {
  async up(db) {
    await db.schema
      .createTable('purges')
      .addColumn('event_id', 'text', (column) => column.primaryKey())
      .addColumn('asked_by', 'text', (column) => column.notNull())
      .addColumn('asked_at', 'text', (column) => column.notNull())
      .execute();
  },
};
