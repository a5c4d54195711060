import type { Json, JsonObject } from '../bus/event.ts';
import type { Db } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { attackerOf } from '../identity/model.ts';
import { uuidOfAddress } from './attacker-names.ts';
import { attackerCalled, type Called } from './called.ts';
import { CONTACT } from './contact.ts';
import { shownIntel } from './intel.ts';
import { latestObservations } from './observations.ts';

/** What no event tells: DECNET's profiler and its bounty table keep these to themselves (contract P5). */
export const UNTOLD = { behavior: null } as const;
const UNTOLD_OF_ONE = { ip_leaks: [], ip_leaks_total: 0 } as const;

/** Domains of one answer. */
const MOST_TARGETS = 1000;

/** The row with all that belongs to it (contract §6.3, P5). */
export async function attackerDetail(db: Db, uuid: string) {
  const called = await attackerCalled(db, uuid);
  const row = await db.selectFrom('attackers').selectAll().where('ip', '=', called.ip).executeTakeFirstOrThrow();
  return {
    ...attackerOf(row),
    ...UNTOLD,
    ...UNTOLD_OF_ONE,
    service_activity: await serviceActivity(db, called),
    observations: await latestObservations(db, called.uuid),
  };
}

/** Disjoint and sorted; a service that only made noise is in neither. */
async function serviceActivity(db: Db, { ip }: Called) {
  const rows = await db
    .selectFrom('attacker_services')
    .select(['service', 'contact'])
    .where('ip', '=', ip)
    .orderBy('service')
    .execute();
  const with_ = (contact: number) => rows.filter((row) => row.contact === contact).map(({ service }) => service);
  return { interacted: with_(CONTACT.used), scanned: with_(CONTACT.scanned) };
}

/** What attribution says of the attacker's identity, by primitive. */
export async function attributionFor(db: Db, uuid: string) {
  const { identity } = await attackerCalled(db, uuid);
  if (identity === null) return { identity_uuid: null, primitives: [] };
  const rows = await db
    .selectFrom('attributions')
    .selectAll()
    .where('identity_uuid', '=', identity)
    .orderBy('primitive')
    .execute();
  return {
    identity_uuid: identity,
    primitives: rows.map(({ identity_uuid: _, current_value, ...row }) => ({
      ...row,
      current_value: parsed(current_value),
    })),
  };
}

/**
 * What enrichment has found out.
 * @throws {AppError} `not_found` when it has found nothing, too
 */
export async function intelOf(db: Db, uuid: string): Promise<JsonObject> {
  const { uuid: attacker_uuid, ip } = await attackerCalled(db, uuid);
  const row = await db
    .selectFrom('attacker_intel')
    .select(['intel', 'updated_at'])
    .where('attacker_uuid', 'in', (eb) =>
      eb
        .selectFrom('attacker_uuids')
        .select('attacker_uuids.uuid')
        .where('ip', '=', ip)
        // A row that came in another way than by events has no other names.
        .union(eb.selectFrom('attackers').select('attackers.uuid').where('ip', '=', ip)),
    )
    .orderBy('updated_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (row === undefined) throw new AppError('not_found', 'Nothing is known of this attacker');
  const told: JsonObject = JSON.parse(row.intel);
  return { ...shownIntel(told, row.updated_at), attacker_uuid, attacker_ip: ip, updated_at: row.updated_at };
}

/** To whose mailboxes the attacker wanted mail to go, the newest first. */
export async function smtpTargets(db: Db, uuid: string) {
  const { uuid: attacker_uuid, ip } = await attackerCalled(db, uuid);
  const rows = await db
    .selectFrom('attacker_smtp_targets')
    .selectAll()
    .where('ip', '=', ip)
    .orderBy('last_seen', 'desc')
    .orderBy('mails', 'desc')
    .orderBy('domain')
    .limit(MOST_TARGETS)
    .execute();
  const { total } = await db
    .selectFrom('attacker_smtp_targets')
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .where('ip', '=', ip)
    .executeTakeFirstOrThrow();
  const data = rows.map(({ domain, mails, first_seen, last_seen }) => ({
    id: uuidOfAddress(`${ip} ${domain}`),
    attacker_uuid,
    domain,
    count: mails,
    first_seen,
    last_seen,
  }));
  return { total, data };
}

function parsed(text: string): Json {
  return JSON.parse(text);
}
