import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/** Each filter with the one that it takes along, as migration 022 has them. */
const FILTERS = [
  ['decky', 'service'],
  ['service', 'event_type'],
  ['event_type', 'decky'],
  ['attacker_ip', 'service'],
] as const;

/** SQLite, as PostgreSQL before: two exact values that seldom meet are looked for in an index alone. */
export const logPairs = (engine: Engine): Migration => ({
  async up(db) {
    if (engine === 'postgres') return;
    for (const [name, other] of FILTERS) {
      await db.schema.dropIndex(`logs_${name}`).execute();
      await db.schema.createIndex(`logs_${name}`).on('logs').columns([name, 'timestamp', 'id', other]).execute();
    }
  },
});
