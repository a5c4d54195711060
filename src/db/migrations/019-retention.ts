import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';

/** Which rows are the oldest, and how many there are, for those who keep the newest only. */
export const retention: Migration = {
  async up(db) {
    await db.schema
      .createIndex('attacker_commands_time')
      .on('attacker_commands')
      .columns(['timestamp', 'seq'])
      .execute();
    for (const table of ['attacker_commands', 'orchestrator_events', 'orchestrator_emails']) {
      await sql`insert into counters (name, value) select ${sql.lit(table)}, count(*) from ${sql.table(table)} having count(*) > 0`.execute(
        db,
      );
    }
  },
};
