import { sql } from 'kysely';
import type { Db, Trx } from '../db/database.ts';
import type { AttackerRow } from '../db/schema.ts';

/**
 * Bytes of commands and fingerprints, as JSON, that a list gives: an attacker fills them with whatever he likes, and a page
 * may hold a thousand of him. Who is further down than that is listed without; his own page has all.
 */
const LIST_BYTES = 1_000_000;
/** Rows that are read at once. */
const CHUNK = 200;

/** Rows in the order of the uuids, their longest lists only as far as they fit into one answer. */
export async function attackerRows(db: Db | Trx, uuids: readonly string[]): Promise<AttackerRow[]> {
  if (uuids.length === 0) return [];
  const lean = [];
  for (let first = 0; first < uuids.length; first += CHUNK) {
    // SQLite answers on the spot: others have their turn in between.
    if (first > 0) await Bun.sleep(0);
    lean.push(...(await leanRows(db, uuids.slice(first, first + CHUNK))));
  }
  const found = new Map(lean.map((row) => [row.uuid, row]));
  const lists = await listsOf(db, uuids, (uuid) => found.get(uuid)?.bytes ?? 0);
  return uuids.flatMap((uuid) => {
    const { bytes: _, ...row } = found.get(uuid) ?? { bytes: 0 };
    return 'uuid' in row ? [{ ...row, ...(lists.get(uuid) ?? { commands: '[]', fingerprints: '[]' }) }] : [];
  });
}

function leanRows(db: Db | Trx, uuids: readonly string[]) {
  return db
    .selectFrom('attackers')
    .select(LEAN)
    .select(sql<number>`octet_length(commands) + octet_length(fingerprints)`.as('bytes'))
    .where('uuid', 'in', uuids)
    .execute();
}

async function listsOf(db: Db | Trx, uuids: readonly string[], bytesOf: (uuid: string) => number) {
  let left = LIST_BYTES;
  const fitting = uuids.filter((uuid) => {
    left -= bytesOf(uuid);
    return left >= 0;
  });
  if (fitting.length === 0) return new Map<string, never>();
  const rows = await db
    .selectFrom('attackers')
    .select(['uuid', 'commands', 'fingerprints'])
    .where('uuid', 'in', fitting)
    .execute();
  return new Map(rows.map(({ uuid, ...lists }) => [uuid, lists]));
}

const LEAN = [
  'uuid',
  'ip',
  'identity_id',
  'first_seen',
  'last_seen',
  'event_count',
  'service_count',
  'decky_count',
  'services',
  'deckies',
  'traversal_path',
  'is_traversal',
  'bounty_count',
  'credential_count',
  'country_code',
  'country_source',
  'asn',
  'as_name',
  'bgp_prefix',
  'asn_source',
  'rpki_status',
  'rpki_source',
  'ptr_record',
  'rotation_count',
  'last_rotation_at',
  'ipv6_leak_count',
  'last_ipv6_leak_at',
  'last_ipv6_link_local',
  'last_ipv6_iid_kind',
  'last_ipv6_mac_oui',
  'updated_at',
] as const satisfies readonly (keyof AttackerRow)[];
