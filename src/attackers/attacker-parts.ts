import { type Insertable, sql } from 'kysely';
import type { Trx } from '../db/database.ts';
import type { AttackerServicesTable } from '../db/schema.ts';

/** Notes who touched which service; the closest contact stays. No pair of service and address twice. */
export async function saveContacts(trx: Trx, met: readonly Insertable<AttackerServicesTable>[]): Promise<void> {
  await trx
    .insertInto('attacker_services')
    .values(met)
    .onConflict((conflict) =>
      conflict
        .columns(['service', 'ip'])
        .doUpdateSet({ contact: sql<number>`excluded.contact` })
        .where(sql<boolean>`attacker_services.contact < excluded.contact`),
    )
    .execute();
}

/** Counts a mail for each domain that it was for. @param at ISO time */
export async function addTargets(trx: Trx, ip: string, domains: readonly string[], at: string): Promise<void> {
  const rows = [...new Set(domains.map((domain) => domain.toLowerCase()))].map((domain) => ({
    ip,
    domain,
    mails: 1,
    first_seen: at,
    last_seen: at,
  }));
  if (rows.length === 0) return;
  await trx
    .insertInto('attacker_smtp_targets')
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(['ip', 'domain']).doUpdateSet({
        mails: sql<number>`attacker_smtp_targets.mails + 1`,
        last_seen: at,
      }),
    )
    .execute();
}
