import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

const CAMPAIGN_TEXTS = [
  'first_seen_at',
  'last_seen_at',
  'ja3_hashes',
  'hassh_hashes',
  'tls_cert_sha256',
  'payload_simhashes',
  'c2_endpoints',
  'merged_into_uuid',
  'notes',
];

/** What is known of attackers beside their own row, and campaigns (contract §6.2 to §6.4). */
export const attackerModels = (engine: Engine): Migration => ({
  async up(db) {
    await db.schema.createIndex('attackers_recent').on('attackers').columns(['last_seen', 'uuid']).execute();
    await db.schema.createIndex('attackers_active').on('attackers').columns(['event_count', 'uuid']).execute();
    await db.schema
      .createTable('attacker_uuids')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('ip', 'text')
      .addColumn('identity_uuid', 'text')
      .execute();
    await db.schema.createIndex('attacker_uuids_ip').on('attacker_uuids').column('ip').execute();
    await db.schema
      .createTable('attacker_commands')
      .addColumn('seq', engine === 'sqlite' ? 'integer' : 'bigserial', (column) =>
        engine === 'sqlite' ? column.primaryKey().autoIncrement() : column.primaryKey(),
      )
      .addColumn('ip', 'text', (column) => column.notNull())
      .addColumn('timestamp', 'text', (column) => column.notNull())
      .addColumn('service', 'text', (column) => column.notNull())
      .addColumn('decky', 'text', (column) => column.notNull())
      .addColumn('command', 'text', (column) => column.notNull())
      .addColumn('session_id', 'text')
      .execute();
    await db.schema.createIndex('attacker_commands_ip').on('attacker_commands').columns(['ip', 'seq']).execute();
    await db.schema
      .createTable('observations')
      .addColumn('attacker_uuid', 'text', (column) => column.notNull())
      .addColumn('primitive', 'text', (column) => column.notNull())
      .addColumn('id', 'text', (column) => column.notNull())
      .addColumn('identity_ref', 'text')
      .addColumn('value', 'text', (column) => column.notNull())
      .addColumn('confidence', 'double precision', (column) => column.notNull())
      .addColumn('window_start_ts', 'double precision')
      .addColumn('window_end_ts', 'double precision')
      .addColumn('source', 'text', (column) => column.notNull())
      .addColumn('evidence_ref', 'text')
      .addColumn('envelope_v', 'integer', (column) => column.notNull())
      .addColumn('ts', 'double precision', (column) => column.notNull())
      .addPrimaryKeyConstraint('observations_key', ['attacker_uuid', 'primitive'])
      .execute();
    await db.schema
      .createTable('attributions')
      .addColumn('identity_uuid', 'text', (column) => column.notNull())
      .addColumn('primitive', 'text', (column) => column.notNull())
      .addColumn('current_value', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('confidence', 'double precision', (column) => column.notNull())
      .addColumn('observation_count', 'integer', (column) => column.notNull())
      .addColumn('last_change_ts', 'double precision', (column) => column.notNull())
      .addColumn('last_observation_ts', 'double precision', (column) => column.notNull())
      .addPrimaryKeyConstraint('attributions_key', ['identity_uuid', 'primitive'])
      .execute();
    await db.schema
      .createTable('attacker_intel')
      .addColumn('attacker_uuid', 'text', (column) => column.primaryKey())
      .addColumn('intel', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .execute();
    let campaigns = db.schema
      .createTable('campaigns')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('schema_version', 'integer', (column) => column.notNull().defaultTo(1))
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addColumn('confidence', 'double precision')
      .addColumn('identity_count', 'integer', (column) => column.notNull().defaultTo(0));
    for (const name of CAMPAIGN_TEXTS) campaigns = campaigns.addColumn(name, 'text');
    await campaigns.execute();
    await db.schema
      .createIndex('campaigns_recent')
      .on('campaigns')
      .columns(['merged_into_uuid', 'updated_at'])
      .execute();
    await db.schema
      .createTable('campaign_members')
      .addColumn('identity_uuid', 'text', (column) => column.primaryKey())
      .addColumn('campaign_uuid', 'text', (column) => column.notNull())
      .execute();
    await db.schema.createIndex('campaign_members_campaign').on('campaign_members').column('campaign_uuid').execute();
  },
});
