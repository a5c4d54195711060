import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';

const STATES = ['pending', 'delivered', 'dead'] as const;

/** What each webhook keeps is counted, so that it can be bounded; one whose backlog is full remembers where it stands in the log. */
export const webhookBounds: Migration = {
  async up(db) {
    await db.schema
      .alterTable('webhook_deliveries')
      .addColumn('bytes', 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
    await sql`update webhook_deliveries set bytes =
      coalesce((select bytes from webhook_events where webhook_events.event_id = webhook_deliveries.event_id), 0)
      + coalesce((select sum(length(error) + coalesce(length(excerpt), 0)) from webhook_attempts where delivery = seq), 0)`.execute(
      db,
    );
    await db.schema.alterTable('webhook_subscriptions').addColumn('behind', 'text').execute();
    await db.schema
      .alterTable('webhook_subscriptions')
      .addColumn('dropped', 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
    await db.schema
      .createTable('webhook_stock')
      .addColumn('subscription', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('events', 'bigint', (column) => column.notNull())
      .addColumn('bytes', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('webhook_stock_pk', ['subscription', 'state'])
      .execute();
    for (const state of STATES) {
      await sql`insert into webhook_stock (subscription, state, events, bytes)
        select uuid, ${sql.lit(state)},
          (select count(*) from webhook_deliveries where subscription = uuid and state = ${sql.lit(state)}),
          (select coalesce(sum(bytes), 0) from webhook_deliveries where subscription = uuid and state = ${sql.lit(state)})
        from webhook_subscriptions`.execute(db);
    }
  },
};
