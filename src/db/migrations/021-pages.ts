import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** What the pages of attackers, campaigns and the orchestrator are read by (contract P5 to P7). */
export const pages = (engine: Engine): Migration => ({
  async up(db) {
    await attackerIndexes(db);
    await db.schema.dropIndex('campaigns_recent').execute();
    await db.schema
      .createIndex('campaigns_recent')
      .on('campaigns')
      .columns(['merged_into_uuid', 'updated_at', 'uuid'])
      .execute();
    await db.schema
      .createTable('attacker_services')
      .addColumn('service', 'text', (column) => column.notNull())
      .addColumn('ip', 'text', (column) => column.notNull())
      .addColumn('contact', 'integer', (column) => column.notNull())
      .addPrimaryKeyConstraint('attacker_services_key', ['service', 'ip'])
      .execute();
    await db.schema.createIndex('attacker_services_ip').on('attacker_services').column('ip').execute();
    await knownServices(db, engine);
    await db.schema
      .createTable('attacker_smtp_targets')
      .addColumn('ip', 'text', (column) => column.notNull())
      .addColumn('domain', 'text', (column) => column.notNull())
      .addColumn('mails', 'integer', (column) => column.notNull())
      .addColumn('first_seen', 'text', (column) => column.notNull())
      .addColumn('last_seen', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('attacker_smtp_targets_key', ['ip', 'domain'])
      .execute();
    await db.schema
      .createTable('identity_observations')
      .addColumn('observation_uuid', 'text', (column) => column.primaryKey())
      .addColumn('identity_uuid', 'text', (column) => column.notNull())
      .execute();
    await db.schema
      .createIndex('identity_observations_identity')
      .on('identity_observations')
      .column('identity_uuid')
      .execute();
    await sql`insert into identity_observations (observation_uuid, identity_uuid)
      select uuid, identity_id from attackers where identity_id is not null`.execute(db);
    await db.schema
      .createIndex('attacker_commands_service')
      .on('attacker_commands')
      .columns(['ip', 'service', 'seq'])
      .execute();
    await db.schema
      .createIndex('orchestrator_events_failures')
      .on('orchestrator_events')
      .columns(['kind', 'success', 'ts'])
      .execute();
    // Few of all lines tell of something that was kept.
    await sql`create index logs_kept on logs (attacker_ip, event_type, timestamp, id)
      where event_type in ('file_captured', 'message_stored', 'session_recorded')`.execute(db);
    if (engine === 'sqlite') await addressesAsTrigrams(db);
    else await addressIndex(db);
  },
});

/** An attacker's row is long: what a filter looks at, and every order, can be read without it. */
async function attackerIndexes(db: Kysely<unknown>): Promise<void> {
  await db.schema.dropIndex('attackers_recent').execute();
  await db.schema.dropIndex('attackers_active').execute();
  const indexes = {
    attackers_recent: ['last_seen', 'uuid', 'ip'],
    attackers_active: ['event_count', 'uuid', 'ip'],
    attackers_traversals: ['is_traversal', 'last_seen', 'uuid', 'ip'],
    attackers_listed: ['ip', 'last_seen', 'event_count', 'is_traversal', 'uuid'],
  };
  for (const [name, columns] of Object.entries(indexes)) {
    await db.schema.createIndex(name).on('attackers').columns(columns).execute();
  }
}

/** Of the rows that were there before. */
async function knownServices(db: Kysely<unknown>, engine: Engine): Promise<void> {
  const services =
    engine === 'sqlite' ? sql`json_each(services)` : sql`jsonb_array_elements_text(services::jsonb) as service(value)`;
  await sql`insert into attacker_services (service, ip, contact)
    select distinct value, ip, 1 from attackers, ${services}`.execute(db);
  await sql`update attacker_services set contact = 2 where exists (
    select 1 from attacker_commands as tried where tried.ip = attacker_services.ip and tried.service = attacker_services.service
  )`.execute(db);
}

/** Whoever writes an attacker, his address can be found by any part of it. */
async function addressesAsTrigrams(db: Kysely<unknown>): Promise<void> {
  // Numbers of its own: those of rows without an integer key change when the file is vacuumed.
  await sql`create table attacker_addresses (id integer primary key, ip text not null unique)`.execute(db);
  await sql`create virtual table attacker_search using fts5(ip, content='', tokenize='trigram')`.execute(db);
  await sql`create trigger attacker_addresses_added after insert on attacker_addresses begin
    insert into attacker_search (rowid, ip) values (new.id, new.ip);
  end`.execute(db);
  await sql`create trigger attackers_added after insert on attackers begin
    insert into attacker_addresses (ip)
      select new.ip where not exists (select 1 from attacker_addresses where ip = new.ip);
  end`.execute(db);
  await sql`insert into attacker_addresses (ip) select ip from attackers`.execute(db);
}

/** Without the extension (migration 013) an address is searched without an index. */
async function addressIndex(db: Kysely<unknown>): Promise<void> {
  await sql`do $$ begin
    if exists (select 1 from pg_extension where extname = 'pg_trgm') then
      create index attackers_ip_text on attackers using gin (ip gin_trgm_ops);
    end if;
  end $$`.execute(db);
}
