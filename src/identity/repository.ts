import { attackerRows } from '../attackers/attacker-rows.ts';
import { countUpTo } from '../db/count-up-to.ts';
import type { Db, Trx } from '../db/database.ts';
import type { AttackerRow, IdentityRow } from '../db/schema.ts';
import { COUNT_LIMIT } from '../http/paging.ts';

/** Which rows of a list are asked for. */
export interface Page {
  readonly limit: number;
  readonly offset: number;
}

/** Rows of one page and how many there are in all. */
export interface Paged<Row> {
  readonly total: number;
  readonly rows: Row[];
}

// Merges form chains; more hops than these, or a circle, is damage that a read must survive (contract §6.1).
export const MAX_MERGE_HOPS = 8;
/** Identities whose attackers are shown as those of the one that they went into. */
const MAX_FAMILY = 1000;

/** The identities that have not been merged into another, newest update first. */
export async function listIdentities(db: Db | Trx, page: Page): Promise<Paged<IdentityRow>> {
  const found = db.selectFrom('attacker_identities').where('merged_into_uuid', 'is', null);
  const total = await countUpTo(db, found, COUNT_LIMIT);
  return { total, rows: page.offset >= total ? [] : await recentIdentities(db, page) };
}

/** The rows of {@link listIdentities} without the count. */
export function recentIdentities(db: Db | Trx, { limit, offset }: Page): Promise<IdentityRow[]> {
  return db
    .selectFrom('attacker_identities')
    .selectAll()
    .where('merged_into_uuid', 'is', null)
    .orderBy('updated_at', 'desc')
    .orderBy('uuid')
    .limit(limit)
    .offset(offset)
    .execute();
}

/**
 * The identity that a uuid stands for today: the winner of its merges, at most {@link MAX_MERGE_HOPS} away.
 * @returns `undefined` when there is no identity of that uuid; the last one that exists when a chain ends nowhere
 */
export async function canonicalIdentity(db: Db | Trx, uuid: string): Promise<IdentityRow | undefined> {
  let identity = await findIdentity(db, uuid);
  for (let hop = 0; hop < MAX_MERGE_HOPS; hop += 1) {
    if (identity === undefined || identity.merged_into_uuid === null) break;
    const winner = await findIdentity(db, identity.merged_into_uuid);
    if (winner === undefined) break;
    identity = winner;
  }
  return identity;
}

async function findIdentity(db: Db | Trx, uuid: string): Promise<IdentityRow | undefined> {
  // PostgreSQL's text holds no NUL, and Elysia hands out null for a path that it cannot decode.
  if (uuid === null || uuid.includes('\0')) return undefined;
  return db.selectFrom('attacker_identities').selectAll().where('uuid', '=', uuid).executeTakeFirst();
}

/** How many attackers are bound to the identity now. */
export async function countObservations(db: Db | Trx, identityUuid: string): Promise<number> {
  const { total } = await db
    .selectFrom('attackers')
    .select((eb) => eb.fn.countAll<number>().as('total'))
    .where('identity_id', 'in', await familyOf(db, identityUuid))
    .executeTakeFirstOrThrow();
  return total;
}

/** An identity with those that were merged into it: their attackers are its own, for as long as it lasts. */
async function familyOf(db: Db | Trx, identityUuid: string): Promise<string[]> {
  const family = new Set([identityUuid]);
  let newest = [identityUuid];
  for (let hop = 0; hop < MAX_MERGE_HOPS && newest.length > 0 && family.size < MAX_FAMILY; hop += 1) {
    const merged = await db
      .selectFrom('attacker_identities')
      .select('uuid')
      .where('merged_into_uuid', 'in', newest)
      .limit(MAX_FAMILY)
      .execute();
    newest = merged.map(({ uuid }) => uuid).filter((uuid) => !family.has(uuid));
    for (const uuid of newest) family.add(uuid);
  }
  return [...family];
}

/** The attackers bound to the identity, last seen first. */
export async function listObservations(
  db: Db | Trx,
  identityUuid: string,
  { limit, offset }: Page,
): Promise<Paged<AttackerRow>> {
  const found = await db
    .selectFrom('attackers')
    .select('uuid')
    .where('identity_id', 'in', await familyOf(db, identityUuid))
    .orderBy('last_seen', 'desc')
    .orderBy('uuid')
    .limit(limit)
    .offset(offset)
    .execute();
  const uuids = found.map(({ uuid }) => uuid);
  return { total: await countObservations(db, identityUuid), rows: await attackerRows(db, uuids) };
}
