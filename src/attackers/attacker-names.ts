import type { Trx } from '../db/database.ts';

/** Names every attacker whose producer tells only its address: the same in every rebuild (RFC 9562, UUID version 5). */
const NAMESPACE = '0b0f6f0c-6c0e-4c56-a7a5-5a2f9d2f9f11';

/** The uuid of an attacker of whom only the address is known. */
export function uuidOfAddress(ip: string): string {
  return Bun.randomUUIDv5(ip, NAMESPACE);
}

/** Notes that a producer calls the attacker at an address by this uuid. */
export async function nameAttacker(trx: Trx, uuid: string, ip: string): Promise<void> {
  await trx
    .insertInto('attacker_uuids')
    .values({ uuid, ip, identity_uuid: null })
    .onConflict((conflict) => conflict.column('uuid').doUpdateSet({ ip }))
    .execute();
}

/** Names of one attacker; he keeps the ones that he has. */
const MOST_NAMES = 20;

/** Whether an attacker is to get no further name. */
export async function hasNamesEnough(trx: Trx, uuid: string, ip: string): Promise<boolean> {
  const names = await trx.selectFrom('attacker_uuids').select('uuid').where('ip', '=', ip).limit(MOST_NAMES).execute();
  return names.length >= MOST_NAMES && !names.some((name) => name.uuid === uuid);
}

/** Notes that attackers belong to an identity; their addresses may not be known yet. */
export async function bindToIdentity(trx: Trx, uuids: readonly string[], identity_uuid: string): Promise<void> {
  if (uuids.length === 0) return;
  await trx
    .insertInto('attacker_uuids')
    .values([...new Set(uuids)].map((uuid) => ({ uuid, ip: null, identity_uuid })))
    .onConflict((conflict) => conflict.column('uuid').doUpdateSet({ identity_uuid }))
    .execute();
}

/** Which address, and which identity, producers have told of uuids. */
export async function knownOf(
  trx: Trx,
  uuids: readonly string[],
): Promise<Map<string, { ip: string | null; identityUuid: string | null }>> {
  if (uuids.length === 0) return new Map();
  const rows = await trx.selectFrom('attacker_uuids').selectAll().where('uuid', 'in', uuids).execute();
  return new Map(rows.map(({ uuid, ip, identity_uuid }) => [uuid, { ip, identityUuid: identity_uuid }]));
}
