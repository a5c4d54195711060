import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** Which rows of read models are the ones that were told of longest ago, and what of a projection is being removed. */
export const boundedReadModels = (engine: Engine): Migration => ({
  async up(db) {
    await db.schema
      .alterTable('projections')
      .addColumn('clearing', 'integer', (column) => column.notNull().defaultTo(0))
      .execute();
    const rosters = db.schema
      .createTable('rosters')
      .addColumn('roster', 'text', (column) => column.notNull())
      .addColumn('key', 'text', (column) => column.notNull())
      .addColumn('told', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('rosters_key', ['roster', 'key']);
    await (engine === 'sqlite' ? rosters.modifyEnd(sql`without rowid`) : rosters).execute();
    await db.schema.createIndex('rosters_told').on('rosters').columns(['roster', 'told', 'key']).execute();
    await db.schema
      .createTable('attackers_leaving')
      .addColumn('ip', 'text', (column) => column.primaryKey())
      .execute();
    await db.schema
      .createIndex('projection_set_aside_at')
      .on('projection_set_aside')
      .columns(['projection', 'set_aside_at', 'event_id'])
      .execute();
    for (const [roster, key, table, order] of ENROLLED) await enroll(db, roster, key, table, order);
    if (engine === 'sqlite') await addressesThatLeave(db);
  },
});

/** Of the rows that are there already nobody knows when they were told of; their own times come nearest. */
const ENROLLED = [
  ['attackers', 'ip', 'attackers', 'last_seen'],
  ['attacker_uuids', 'uuid', 'attacker_uuids', 'uuid'],
  ['attacker_uuids', 'attacker_uuid', 'observations', 'attacker_uuid'],
  ['attacker_uuids', 'attacker_uuid', 'attacker_intel', 'attacker_uuid'],
  ['attributed', 'identity_uuid', 'attributions', 'identity_uuid'],
  ['identities', 'uuid', 'attacker_identities', 'updated_at'],
  ['linked', 'observation_uuid', 'identity_observations', 'observation_uuid'],
  ['campaigns', 'uuid', 'campaigns', 'updated_at'],
  ['members', 'identity_uuid', 'campaign_members', 'identity_uuid'],
] as const;

async function enroll(db: Kysely<unknown>, roster: string, key: string, table: string, order: string): Promise<void> {
  const [name, column] = [sql.lit(roster), sql.ref(key)];
  await sql`insert into rosters (roster, key, told)
    select ${name}, ${column}, row_number() over (order by min(${sql.ref(order)}), ${column}) from ${sql.table(table)}
    where true group by ${column} on conflict (roster, key) do nothing`.execute(db);
  await sql`insert into counters (name, value)
    select ${sql.lit(`roster:${roster}`)}, count(*) from rosters where roster = ${name} having count(*) > 0
    on conflict (name) do update set value = excluded.value`.execute(db);
}

/** Whoever removes an attacker, his address is not found any more. */
async function addressesThatLeave(db: Kysely<unknown>): Promise<void> {
  await sql`create trigger attacker_addresses_removed after delete on attacker_addresses begin
    insert into attacker_search (attacker_search, rowid, ip) values ('delete', old.id, old.ip);
  end`.execute(db);
  await sql`create trigger attackers_removed after delete on attackers begin
    delete from attacker_addresses where ip = old.ip;
  end`.execute(db);
}
