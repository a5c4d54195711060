import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/**
 * Each filter with the one that it takes along: every two of the first three meet in one index. Not all of them in each,
 * because an entry of an index has at most 2,704 bytes, and each of these columns up to 1,020.
 */
const FILTERS = [
  ['decky', 'service'],
  ['service', 'event_type'],
  ['event_type', 'decky'],
  ['attacker_ip', 'service'],
] as const;

/**
 * PostgreSQL: a search for two exact values that seldom meet looked at every line that has one of them. With the other one
 * in the index, behind the order, only the index is looked at.
 */
export const logFilters = (engine: Engine): Migration => ({
  async up(db) {
    if (engine === 'sqlite') return;
    for (const [name, other] of FILTERS) {
      await db.schema.dropIndex(`logs_${name}`).execute();
      await db.schema.createIndex(`logs_${name}`).on('logs').columns([name, 'timestamp', 'id', other]).execute();
    }
  },
});
