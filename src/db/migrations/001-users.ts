import type { Migration } from 'kysely/migration';

/** Contract §5.1: users and revoked_tokens. */
export const users: Migration = {
  async up(db) {
    await db.schema
      .createTable('users')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('username', 'text', (column) => column.notNull().unique())
      .addColumn('password_hash', 'text', (column) => column.notNull())
      .addColumn('role', 'text', (column) => column.notNull().defaultTo('viewer'))
      .addColumn('must_change_password', 'integer', (column) => column.notNull().defaultTo(0))
      .addColumn('tokens_valid_from', 'text')
      .execute();
    await db.schema
      .createTable('revoked_tokens')
      .addColumn('jti', 'text', (column) => column.primaryKey())
      .addColumn('user_uuid', 'text', (column) => column.notNull())
      .addColumn('expires_at', 'text', (column) => column.notNull())
      .addColumn('revoked_at', 'text', (column) => column.notNull())
      .execute();
    await db.schema.createIndex('revoked_tokens_expires_at').on('revoked_tokens').column('expires_at').execute();
  },
};
