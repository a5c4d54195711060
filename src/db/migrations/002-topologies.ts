import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';

/** Contract §5.1: topologies with their LANs, deckies, edges, status events and mutations. */
export const topologies: Migration = {
  async up(db) {
    await createTopologies(db);
    await createParts(db);
    await createHistory(db);
  },
};

// biome-ignore lint/suspicious/noExplicitAny: a migration runs against the schema of its own time (Kysely's type for it)
type AnyDb = Kysely<any>;

/** A table whose rows go with their topology. */
function partOfTopology(db: AnyDb, table: string, key: string) {
  return db.schema
    .createTable(table)
    .addColumn(key, 'text', (column) => column.primaryKey())
    .addColumn('topology_id', 'text', (column) => column.notNull().references('topologies.id').onDelete('cascade'));
}

async function createTopologies(db: AnyDb) {
  await db.schema
    .createTable('topologies')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull().unique())
    .addColumn('mode', 'text', (column) => column.notNull().defaultTo('unihost'))
    .addColumn('target_host_uuid', 'text')
    .addColumn('config_snapshot', 'text', (column) => column.notNull().defaultTo('{}'))
    .addColumn('status', 'text', (column) => column.notNull().defaultTo('pending'))
    .addColumn('status_changed_at', 'text', (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull().defaultTo(1))
    .addColumn('needs_resync', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('email_personas', 'text', (column) => column.notNull().defaultTo('[]'))
    .addColumn('language_default', 'text', (column) => column.notNull().defaultTo('en'))
    .execute();
  await db.schema.createIndex('topologies_status').on('topologies').column('status').execute();
  await db.schema.createIndex('topologies_created_at').on('topologies').column('created_at').execute();
}

async function createParts(db: AnyDb) {
  await partOfTopology(db, 'lans', 'id')
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('docker_network_id', 'text')
    .addColumn('subnet', 'text', (column) => column.notNull())
    .addColumn('is_dmz', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('x', 'double precision')
    .addColumn('y', 'double precision')
    .addUniqueConstraint('lans_topology_name', ['topology_id', 'name'])
    .execute();
  await partOfTopology(db, 'topology_deckies', 'uuid')
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('services', 'text', (column) => column.notNull().defaultTo('[]'))
    .addColumn('decky_config', 'text')
    .addColumn('ip', 'text')
    .addColumn('state', 'text', (column) => column.notNull().defaultTo('pending'))
    .addColumn('last_error', 'text')
    .addColumn('compose_hash', 'text')
    .addColumn('last_seen', 'text')
    .addColumn('updated_at', 'text', (column) => column.notNull())
    .addColumn('x', 'double precision')
    .addColumn('y', 'double precision')
    .addUniqueConstraint('topology_deckies_topology_name', ['topology_id', 'name'])
    .execute();
  await db.schema.createIndex('topology_deckies_state').on('topology_deckies').column('state').execute();
  await partOfTopology(db, 'topology_edges', 'id')
    .addColumn('decky_uuid', 'text', (column) => column.notNull().references('topology_deckies.uuid'))
    .addColumn('lan_id', 'text', (column) => column.notNull().references('lans.id'))
    .addColumn('is_bridge', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('forwards_l3', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema.createIndex('topology_edges_topology').on('topology_edges').column('topology_id').execute();
}

async function createHistory(db: AnyDb) {
  await partOfTopology(db, 'topology_status_events', 'id')
    .addColumn('from_status', 'text', (column) => column.notNull())
    .addColumn('to_status', 'text', (column) => column.notNull())
    .addColumn('at', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .execute();
  await db.schema
    .createIndex('topology_status_events_topology_at')
    .on('topology_status_events')
    .columns(['topology_id', 'at'])
    .execute();
  await partOfTopology(db, 'topology_mutations', 'id')
    .addColumn('op', 'text', (column) => column.notNull())
    .addColumn('payload', 'text', (column) => column.notNull().defaultTo('{}'))
    .addColumn('state', 'text', (column) => column.notNull().defaultTo('pending'))
    .addColumn('queue_position', 'integer', (column) => column.notNull())
    .addColumn('requested_at', 'text', (column) => column.notNull())
    .addColumn('applied_at', 'text')
    .addColumn('reason', 'text')
    .addUniqueConstraint('topology_mutations_queue', ['topology_id', 'queue_position'])
    .execute();
  await db.schema
    .createIndex('topology_mutations_state')
    .on('topology_mutations')
    .columns(['topology_id', 'state', 'queue_position'])
    .execute();
}
