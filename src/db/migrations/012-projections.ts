import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** Where each projection of the event log stands, and what it has counted. */
export const projections = (engine: Engine): Migration => ({
  async up(db) {
    await db.schema
      .createTable('projections')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('version', 'integer', (column) => column.notNull())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('log_offset', 'bigint', (column) => column.notNull())
      .addColumn('proof', 'text', (column) => column.notNull())
      .addColumn('aligned_until', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('event_ts', 'double precision')
      .addColumn('counted', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('skipped', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('repeated', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('set_aside', 'integer', (column) => column.notNull().defaultTo(0))
      .addColumn('gaps', 'integer', (column) => column.notNull().defaultTo(0))
      .addColumn('last_gap', 'text')
      .execute();
    await db.schema
      .createTable('projection_places')
      .addColumn('projection', 'text', (column) => column.notNull())
      .addColumn('channel', 'text', (column) => column.notNull())
      .addColumn('channel_offset', 'bigint', (column) => column.notNull())
      .addColumn('proof', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('projection_places_key', ['projection', 'channel'])
      .execute();
    await db.schema
      .createTable('projection_epochs')
      .addColumn('projection', 'text', (column) => column.notNull())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('reached', 'bigint', (column) => column.notNull())
      .addColumn('forgotten', 'bigint', (column) => column.notNull().defaultTo(0))
      .addPrimaryKeyConstraint('projection_epochs_key', ['projection', 'epoch'])
      .execute();
    const seen = db.schema
      .createTable('projection_events')
      .addColumn('projection', 'text', (column) => column.notNull())
      .addColumn('event_id', 'text', (column) => column.notNull())
      .addColumn('ordinal', 'bigint', (column) => column.notNull())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('log_offset', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('projection_events_key', ['projection', 'event_id']);
    // The key is all there is to look for: no second copy of each row.
    await (engine === 'sqlite' ? seen.modifyEnd(sql`without rowid`) : seen).execute();
    await db.schema
      .createIndex('projection_events_ordinal')
      .on('projection_events')
      .columns(['projection', 'ordinal'])
      .execute();
    await db.schema
      .createTable('projection_set_aside')
      .addColumn('projection', 'text', (column) => column.notNull())
      .addColumn('event_id', 'text', (column) => column.notNull())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('log_offset', 'bigint', (column) => column.notNull())
      .addColumn('topic', 'text', (column) => column.notNull())
      .addColumn('error', 'text', (column) => column.notNull())
      .addColumn('set_aside_at', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('projection_set_aside_key', ['projection', 'event_id'])
      .execute();
  },
});
