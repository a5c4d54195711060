import type { Migration } from 'kysely/migration';

/** What the orchestrator did, and when each worker was last heard of (contract §6.5, §8). */
export const orchestrator: Migration = {
  async up(db) {
    await db.schema
      .createTable('orchestrator_events')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('ts', 'text', (column) => column.notNull())
      .addColumn('kind', 'text', (column) => column.notNull())
      .addColumn('protocol', 'text', (column) => column.notNull())
      .addColumn('action', 'text', (column) => column.notNull())
      .addColumn('src_decky_uuid', 'text')
      .addColumn('dst_decky_uuid', 'text', (column) => column.notNull())
      .addColumn('success', 'integer', (column) => column.notNull())
      .addColumn('payload', 'text', (column) => column.notNull())
      .execute();
    await db.schema.createIndex('orchestrator_events_ts').on('orchestrator_events').columns(['ts', 'uuid']).execute();
    await db.schema
      .createIndex('orchestrator_events_kind')
      .on('orchestrator_events')
      .columns(['kind', 'ts', 'uuid'])
      .execute();
    await db.schema
      .createIndex('orchestrator_events_success')
      .on('orchestrator_events')
      .columns(['success', 'ts'])
      .execute();
    let emails = db.schema
      .createTable('orchestrator_emails')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('ts', 'text', (column) => column.notNull())
      .addColumn('success', 'integer', (column) => column.notNull())
      .addColumn('in_reply_to', 'text')
      .addColumn('eml_path', 'text');
    for (const name of [
      'mail_decky_uuid',
      'thread_id',
      'message_id',
      'sender_email',
      'recipient_email',
      'subject',
      'language',
      'payload',
    ]) {
      emails = emails.addColumn(name, 'text', (column) => column.notNull());
    }
    await emails.execute();
    await db.schema.createIndex('orchestrator_emails_ts').on('orchestrator_emails').columns(['ts', 'uuid']).execute();
    await db.schema
      .createIndex('orchestrator_emails_success')
      .on('orchestrator_emails')
      .columns(['success', 'ts'])
      .execute();
    await db.schema
      .createTable('worker_heartbeats')
      .addColumn('name', 'text', (column) => column.primaryKey())
      .addColumn('ts', 'double precision', (column) => column.notNull())
      .addColumn('extra', 'text', (column) => column.notNull())
      .execute();
  },
};
