import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** Subscriptions of webhooks, and what is delivered to them. */
export const webhooks = (engine: Engine): Migration => ({
  async up(db) {
    await db.schema
      .createTable('webhook_subscriptions')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull().unique())
      .addColumn('url', 'text', (column) => column.notNull())
      .addColumn('secret', 'text', (column) => column.notNull())
      .addColumn('previous_secret', 'text')
      .addColumn('previous_secret_until', 'bigint')
      .addColumn('topic_patterns', 'text', (column) => column.notNull())
      .addColumn('enabled', 'integer', (column) => column.notNull())
      .addColumn('revision', 'bigint', (column) => column.notNull().defaultTo(1))
      .addColumn('ordered', 'integer', (column) => column.notNull())
      .addColumn('concurrency', 'integer', (column) => column.notNull())
      .addColumn('batch_size', 'integer', (column) => column.notNull())
      .addColumn('batch_wait_ms', 'integer', (column) => column.notNull())
      .addColumn('template', 'text')
      .addColumn('breaker', 'text', (column) => column.notNull())
      .addColumn('consecutive_failures', 'integer', (column) => column.notNull())
      .addColumn('last_success_at', 'text')
      .addColumn('last_failure_at', 'text')
      .addColumn('last_error', 'text')
      .addColumn('auto_disabled_at', 'text')
      .addColumn('delivered', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('attempts', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('dead', 'bigint', (column) => column.notNull().defaultTo(0))
      .addColumn('missed', 'text', (column) => column.notNull().defaultTo('[]'))
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('webhook_events')
      .addColumn('event_id', 'text', (column) => column.primaryKey())
      .addColumn('topic', 'text', (column) => column.notNull())
      .addColumn('created_at', 'bigint', (column) => column.notNull())
      .addColumn('bytes', 'integer', (column) => column.notNull())
      // The last, since it may be megabytes.
      .addColumn('data', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('webhook_deliveries')
      .addColumn('seq', engine === 'sqlite' ? 'integer' : 'bigserial', (column) =>
        // AUTOINCREMENT: SQLite would otherwise give the number of a deleted row again.
        engine === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey(),
      )
      .addColumn('subscription', 'text', (column) => column.notNull())
      .addColumn('event_id', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('batch', 'bigint')
      .addColumn('attempts', 'integer', (column) => column.notNull())
      .addColumn('due_at', 'bigint', (column) => column.notNull())
      .addColumn('created_at', 'bigint', (column) => column.notNull())
      .addColumn('finished_at', 'bigint')
      .addColumn('status', 'integer')
      .addColumn('latency_ms', 'integer')
      .addColumn('error', 'text')
      .execute();
    const index = (name: string) => db.schema.createIndex(`webhook_deliveries_${name}`).on('webhook_deliveries');
    // One delivery of an event to a subscription, however often it is dispatched.
    await index('once').columns(['event_id', 'subscription']).unique().execute();
    await index('order').columns(['subscription', 'state', 'seq']).execute();
    await index('due').columns(['subscription', 'state', 'due_at']).execute();
    await index('batch').column('batch').execute();
    await index('age').columns(['state', 'finished_at']).execute();
    // Where the dispatcher stands in the log: the only row that there ever is.
    await db.schema
      .createTable('webhook_dispatch')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('epoch', 'text', (column) => column.notNull())
      .addColumn('log_offset', 'bigint', (column) => column.notNull())
      .addColumn('proof', 'text', (column) => column.notNull())
      .addColumn('reached', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .createTable('webhook_attempts')
      .addColumn('delivery', 'bigint', (column) => column.notNull())
      .addColumn('number', 'integer', (column) => column.notNull())
      .addColumn('at', 'bigint', (column) => column.notNull())
      .addColumn('status', 'integer')
      .addColumn('latency_ms', 'integer', (column) => column.notNull())
      .addColumn('error', 'text', (column) => column.notNull())
      .addColumn('excerpt', 'text')
      .addPrimaryKeyConstraint('webhook_attempts_pk', ['delivery', 'number'])
      .execute();
  },
});
