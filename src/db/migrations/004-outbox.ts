import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** The transactional outbox, the revisions that snapshots name, and the leases of single-holder roles. */
export const outbox = (engine: Engine): Migration => ({
  async up(db) {
    const sequence = engine === 'sqlite' ? 'integer' : 'bigserial';
    await db.schema
      .createTable('outbox')
      // AUTOINCREMENT: SQLite would otherwise give the number of a deleted row again.
      .addColumn('seq', sequence, (column) =>
        engine === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey(),
      )
      .addColumn('event_id', 'text', (column) => column.notNull().unique())
      .addColumn('topic', 'text', (column) => column.notNull())
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('ts', 'double precision', (column) => column.notNull())
      .addColumn('payload', 'text', (column) => column.notNull())
      .addColumn('revisions', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('channel_revisions')
      .addColumn('channel', 'text', (column) => column.primaryKey())
      .addColumn('revision', 'bigint', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('leases')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('holder', 'text', (column) => column.notNull())
      .addColumn('expires_at', 'bigint', (column) => column.notNull())
      .execute();
  },
});
