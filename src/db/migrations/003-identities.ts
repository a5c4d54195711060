import type { Migration } from 'kysely/migration';

const IDENTITY_TEXTS = [
  'campaign_id',
  'first_seen_at',
  'last_seen_at',
  'ja3_hashes',
  'hassh_hashes',
  'ja4h_hashes',
  'ja4_quic_hashes',
  'http_versions_seen',
  'tls_cert_sha256',
  'ipv6_link_local_iids',
  'payload_simhashes',
  'c2_endpoints',
  'kd_digraph_simhash',
  'merged_into_uuid',
  'notes',
];

const ATTACKER_COUNTS = [
  'event_count',
  'service_count',
  'decky_count',
  'is_traversal',
  'bounty_count',
  'credential_count',
  'rotation_count',
  'ipv6_leak_count',
];
const ATTACKER_LISTS = ['services', 'deckies', 'fingerprints', 'commands'];
const ATTACKER_TEXTS = [
  'identity_id',
  'traversal_path',
  'country_code',
  'country_source',
  'as_name',
  'bgp_prefix',
  'asn_source',
  'rpki_status',
  'rpki_source',
  'ptr_record',
  'last_rotation_at',
  'last_ipv6_leak_at',
  'last_ipv6_link_local',
  'last_ipv6_iid_kind',
  'last_ipv6_mac_oui',
];

/** Contract §6.1 and §6.3: attacker_identities and attackers. */
export const identities: Migration = {
  async up(db) {
    let table = db.schema
      .createTable('attacker_identities')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('schema_version', 'integer', (column) => column.notNull().defaultTo(1))
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addColumn('confidence', 'double precision')
      .addColumn('observation_count', 'integer', (column) => column.notNull().defaultTo(0));
    for (const name of IDENTITY_TEXTS) table = table.addColumn(name, 'text');
    await table.execute();
    // The snapshot of the identity stream: not merged away, newest update first.
    await db.schema
      .createIndex('attacker_identities_recent')
      .on('attacker_identities')
      .columns(['merged_into_uuid', 'updated_at'])
      .execute();

    let attackers = db.schema
      .createTable('attackers')
      .addColumn('uuid', 'text', (column) => column.primaryKey())
      .addColumn('ip', 'text', (column) => column.notNull().unique())
      .addColumn('first_seen', 'text', (column) => column.notNull())
      .addColumn('last_seen', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addColumn('asn', 'integer');
    for (const name of ATTACKER_COUNTS) {
      attackers = attackers.addColumn(name, 'integer', (column) => column.notNull().defaultTo(0));
    }
    for (const name of ATTACKER_LISTS) {
      attackers = attackers.addColumn(name, 'text', (column) => column.notNull().defaultTo('[]'));
    }
    for (const name of ATTACKER_TEXTS) attackers = attackers.addColumn(name, 'text');
    await attackers.execute();
    await db.schema
      .createIndex('attackers_identity_last_seen')
      .on('attackers')
      .columns(['identity_id', 'last_seen'])
      .execute();
  },
};
