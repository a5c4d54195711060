import type { Migration } from 'kysely/migration';

/** Deckies outside of any topology, and what is being done to them (contract §5.1). */
export const deckyFleet: Migration = {
  async up(db) {
    await db.schema
      .createTable('fleet_deckies')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('host_uuid', 'text')
      .addColumn('archetype', 'text', (column) => column.notNull())
      .addColumn('services', 'text', (column) => column.notNull().defaultTo('[]'))
      .addColumn('service_pool', 'text', (column) => column.notNull().defaultTo('[]'))
      .addColumn('mutate_interval', 'text')
      .addColumn('state', 'text', (column) => column.notNull().defaultTo('pending'))
      .addColumn('last_mutated_at', 'text')
      .addColumn('next_due_at', 'text')
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('decky_lifecycle')
      .addColumn('id', 'text', (column) => column.primaryKey())
      // No reference: what happened to a decky is told after the decky has gone.
      .addColumn('decky_name', 'text', (column) => column.notNull())
      .addColumn('host_uuid', 'text')
      .addColumn('operation', 'text', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull().defaultTo('pending'))
      .addColumn('error', 'text')
      .addColumn('started_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addColumn('completed_at', 'text')
      .addColumn('trigger', 'text', (column) => column.notNull())
      .addColumn('actor', 'text')
      .addColumn('planned_services', 'text')
      .addColumn('claimed_by', 'text')
      .addColumn('claim_expires_at', 'bigint')
      .execute();
    await db.schema
      .createIndex('decky_lifecycle_status_decky')
      .on('decky_lifecycle')
      .columns(['status', 'decky_name'])
      .execute();
    await db.schema.createIndex('decky_lifecycle_claim').on('decky_lifecycle').column('claimed_by').execute();
  },
};
