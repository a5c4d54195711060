import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** Every filter of a search that is exact, newest first (contract §3.6). */
const FILTERS = ['decky', 'service', 'event_type', 'attacker_ip'];
const OPTIONAL = ['msg', 'trace_id', 'span_id'];

/** Lines of the deckies' logs, how many there are of what, and a search index (contract §3.6). */
export const logs = (engine: Engine): Migration => ({
  async up(db) {
    let table = db.schema
      .createTable('logs')
      .addColumn('id', engine === 'sqlite' ? 'integer' : 'bigint', (column) => column.primaryKey())
      .addColumn('timestamp', 'text', (column) => column.notNull());
    for (const name of [...FILTERS, 'raw_line', 'fields']) {
      table = table.addColumn(name, 'text', (column) => column.notNull());
    }
    for (const name of OPTIONAL) table = table.addColumn(name, 'text');
    await table.execute();
    await db.schema.createIndex('logs_timestamp').on('logs').columns(['timestamp', 'id']).execute();
    for (const name of FILTERS) {
      await db.schema.createIndex(`logs_${name}`).on('logs').columns([name, 'timestamp', 'id']).execute();
    }
    await db.schema
      .createTable('log_values')
      .addColumn('field', 'text', (column) => column.notNull())
      .addColumn('value', 'text', (column) => column.notNull())
      .addColumn('lines', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('log_values_key', ['field', 'value'])
      .execute();
    await db.schema
      .createTable('log_minutes')
      .addColumn('minute', 'integer', (column) => column.primaryKey())
      .addColumn('lines', 'bigint', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('log_quarters')
      .addColumn('field', 'text', (column) => column.notNull())
      .addColumn('value', 'text', (column) => column.notNull())
      .addColumn('quarter', 'integer', (column) => column.notNull())
      .addColumn('lines', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('log_quarters_key', ['field', 'value', 'quarter'])
      .execute();
    await db.schema
      .createTable('counters')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('value', 'bigint', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('log_epochs')
      .addColumn('epoch', 'text', (column) => column.primaryKey())
      .addColumn('ordinal', 'integer', (column) => column.notNull().unique())
      .execute();
    if (engine === 'sqlite') await fts5(db);
    else await trigrams(db);
  },
});

/** Trigrams find any part of a text, and `detail=none` keeps no positions: a hit is looked at before it counts. */
async function fts5(db: Kysely<unknown>): Promise<void> {
  await sql`create virtual table log_search using fts5(text, content='', detail=none, tokenize='trigram')`.execute(db);
}

/** A server that lacks the extension, or does not let us have it, searches without an index. */
async function trigrams(db: Kysely<unknown>): Promise<void> {
  await sql`do $$ begin create extension if not exists pg_trgm; exception when others then null; end $$`.execute(db);
  await sql`do $$ begin
    if exists (select 1 from pg_extension where extname = 'pg_trgm') then
      create index logs_text on logs using gin (
        (raw_line || chr(10) || decky || chr(10) || service || chr(10) || attacker_ip || chr(10) || fields) gin_trgm_ops
      );
    end if;
  end $$`.execute(db);
}
