import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';

/** Who publishes and subscribes without being a user. */
export const serviceAccounts: Migration = {
  async up(db) {
    await db.schema
      .createTable('service_accounts')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('publish', 'text', (column) => column.notNull())
      .addColumn('subscribe', 'text', (column) => column.notNull())
      .addColumn('control', 'integer', (column) => column.notNull())
      .addColumn('rights_version', 'integer', (column) => column.notNull().defaultTo(1))
      .addColumn('secret_hash', 'text', (column) => column.notNull())
      .addColumn('secret_number', 'integer', (column) => column.notNull().defaultTo(1))
      .addColumn('previous_hash', 'text')
      .addColumn('previous_until', 'text')
      .addColumn('expires_at', 'text')
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('last_used_at', 'text')
      .addColumn('revoked_at', 'text')
      .execute();
    // The name of one that is revoked is free again.
    await db.schema
      .createIndex('service_accounts_name')
      .unique()
      .on('service_accounts')
      .column('name')
      .where(sql`revoked_at`, 'is', null)
      .execute();
  },
};
