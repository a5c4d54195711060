import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Engine } from '../database.ts';

/**
 * The trigrams of addresses (migration 021) as those of an expression. Those of the column PostgreSQL also takes for `ip = …`, where it
 * knows nothing of a young table yet: a hundred times as slow as the key.
 */
export const addressText = (engine: Engine): Migration => ({
  async up(db) {
    if (engine === 'sqlite') return;
    await sql`drop index if exists attackers_ip_text`.execute(db);
    await sql`do $$ begin
      if exists (select 1 from pg_extension where extname = 'pg_trgm') then
        create index attackers_ip_text on attackers using gin ((ip || '') gin_trgm_ops);
      end if;
    end $$`.execute(db);
  },
});
