import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/**
 * Outbox rows that could not be published, how large the waiting ones are, and which channel the log forgets with an
 * event.
 */
export const setAside = (engine: Engine): Migration => ({
  async up(db) {
    await db.schema
      .alterTable('outbox')
      .addColumn('bytes', 'integer', (column) => column.notNull().defaultTo(0))
      .execute();
    await db.schema.alterTable('outbox').addColumn('forget', 'text').execute();
    const length = engine === 'sqlite' ? sql`length(cast(payload as blob))` : sql`octet_length(payload)`;
    await sql`update outbox set bytes = ${length}`.execute(db);
    // Sizes are read from here alone: in SQLite the column lies behind the payload, which may be megabytes.
    await db.schema.createIndex('outbox_sizes').on('outbox').columns(['seq', 'bytes']).execute();
    await db.schema
      .createTable('outbox_set_aside')
      .addColumn('event_id', 'text', (column) => column.primaryKey())
      .addColumn('topic', 'text', (column) => column.notNull())
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('ts', 'double precision', (column) => column.notNull())
      .addColumn('bytes', 'integer', (column) => column.notNull())
      .addColumn('revisions', 'text', (column) => column.notNull())
      .addColumn('forget', 'text')
      .addColumn('tries', 'integer', (column) => column.notNull())
      .addColumn('error', 'text', (column) => column.notNull())
      .addColumn('substituted', 'integer', (column) => column.notNull())
      .addColumn('set_aside_at', 'text', (column) => column.notNull())
      // The last: what lists the others does not read it.
      .addColumn('payload', 'text', (column) => column.notNull())
      .execute();
    await db.schema.createIndex('outbox_set_aside_at').on('outbox_set_aside').column('set_aside_at').execute();
  },
});
