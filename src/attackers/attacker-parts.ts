import { type Insertable, sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { insertRows } from '../db/insert-rows.ts';
import { keepFirst } from '../db/remove-some.ts';
import type { AttackerServicesTable } from '../db/schema.ts';

const SERVICES = {
  table: 'attacker_services',
  columns: { service: 'text', ip: 'text', contact: 'integer' },
} as const;

/** Notes who touched which service; the closest contact stays. No pair of service and address twice. */
export async function saveContacts(
  trx: Trx,
  engine: Engine,
  met: readonly Insertable<AttackerServicesTable>[],
): Promise<void> {
  const closer = sql`on conflict (service, ip) do update set contact = excluded.contact
    where attacker_services.contact < excluded.contact`;
  await insertRows(trx, engine, SERVICES, met, closer);
}

/** Domains of one attacker, those of his last mails. */
const MOST_TARGETS = 1000;

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
  const targets = { table: 'attacker_smtp_targets', key: ['ip', 'domain'], only: sql<boolean>`ip = ${ip}` } as const;
  await keepFirst(trx, targets, sql`last_seen desc, domain`, MOST_TARGETS);
}
