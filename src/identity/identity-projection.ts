import { sql } from 'kysely';
import type { Trx } from '../db/database.ts';
import { isoOf, textOf, textsOf } from '../projection/payload.ts';
import { applyEach, type LoggedEvent, type Projection } from '../projection/projection.ts';
import { MAX_MERGE_HOPS } from './repository.ts';

const MAX_ID = 128;
/** Rows of one statement. */
const CHUNK = 500;

/**
 * Identities as a clusterer tells them (contract §1.3, §6.1). What it knows of their fingerprints it keeps to itself: those
 * columns stay null, or as they are in rows that were written together with their event.
 */
export const identityProjection: Projection = {
  name: 'identities',
  version: 1,
  topics: [
    'identity.formed',
    'identity.observation.linked',
    'identity.merged',
    'identity.unmerged',
    'identity.campaign.assigned',
  ],
  channels: ['identity'],
  apply: (trx, events) => applyEach(events, (event) => applyOne(trx, event)),
  async clear(trx) {
    await trx.deleteFrom('identity_observations').execute();
    await trx.deleteFrom('attacker_identities').execute();
  },
};

/** @returns false when the event held nothing that can be used */
function applyOne(trx: Trx, { topic, ts, payload }: LoggedEvent): Promise<boolean> {
  const at = isoOf(ts);
  const uuid = (name: string) => textOf(payload, name, MAX_ID);
  switch (topic) {
    case 'identity.formed':
      return observed(trx, uuid('identity_uuid'), textsOf(payload, 'observation_uuids'), at);
    case 'identity.observation.linked': {
      const observation = uuid('observation_uuid');
      return observation === undefined
        ? Promise.resolve(false)
        : observed(trx, uuid('identity_uuid'), [observation], at);
    }
    case 'identity.merged':
      return mergeInto(trx, uuid('loser_uuid'), uuid('winner_uuid'), at);
    case 'identity.unmerged':
      return unmerge(trx, uuid('resurrected_uuid'), uuid('former_winner_uuid'), at);
    default:
      return assign(trx, uuid('identity_uuid'), uuid('campaign_uuid'), at);
  }
}

/** Linking leaves `updated_at` alone (contract §6.1). */
async function observed(trx: Trx, identity_uuid: string | undefined, told: readonly string[], at: string) {
  if (identity_uuid === undefined) return false;
  await ensureIdentity(trx, identity_uuid, at);
  const uuids = [...new Set(told)];
  for (let first = 0; first < uuids.length; first += CHUNK) {
    const observations = uuids.slice(first, first + CHUNK);
    const before = await trx
      .selectFrom('identity_observations')
      .select('identity_uuid')
      .distinct()
      .where('observation_uuid', 'in', observations)
      .where('identity_uuid', '!=', identity_uuid)
      .execute();
    await trx
      .insertInto('identity_observations')
      .values(observations.map((observation_uuid) => ({ observation_uuid, identity_uuid })))
      .onConflict((conflict) => conflict.column('observation_uuid').doUpdateSet({ identity_uuid }))
      .execute();
    for (const { identity_uuid: loser } of before) await recount(trx, loser);
  }
  await trx
    .updateTable('attacker_identities')
    .set({ last_seen_at: at })
    .where('uuid', '=', identity_uuid)
    .where((eb) => eb.or([eb('last_seen_at', 'is', null), eb('last_seen_at', '<', at)]))
    .execute();
  await recount(trx, identity_uuid);
  return true;
}

async function mergeInto(trx: Trx, loser: string | undefined, winner: string | undefined, at: string) {
  if (loser === undefined || winner === undefined || loser === winner) return false;
  await ensureIdentity(trx, winner, at);
  await ensureIdentity(trx, loser, at);
  await trx
    .updateTable('attacker_identities')
    .set({ merged_into_uuid: winner, updated_at: at })
    .where('uuid', '=', loser)
    .execute();
  await touch(trx, winner, at);
  await recount(trx, winner);
  return true;
}

async function unmerge(trx: Trx, resurrected: string | undefined, winner: string | undefined, at: string) {
  if (resurrected === undefined) return false;
  await ensureIdentity(trx, resurrected, at);
  await trx
    .updateTable('attacker_identities')
    .set({ merged_into_uuid: null, updated_at: at })
    .where('uuid', '=', resurrected)
    .execute();
  if (winner === undefined) return true;
  await touch(trx, winner, at);
  await recount(trx, winner);
  return true;
}

async function assign(trx: Trx, identity: string | undefined, campaign_id: string | undefined, at: string) {
  if (identity === undefined || campaign_id === undefined) return false;
  await ensureIdentity(trx, identity, at);
  await trx
    .updateTable('attacker_identities')
    .set({ campaign_id, updated_at: at })
    .where('uuid', '=', identity)
    .execute();
  return true;
}

async function touch(trx: Trx, uuid: string, at: string): Promise<void> {
  await trx.updateTable('attacker_identities').set({ updated_at: at }).where('uuid', '=', uuid).execute();
}

/** An identity counts what it was told of, and what those count that were merged into it; so does the one it went into. */
async function recount(trx: Trx, identity: string): Promise<void> {
  let uuid: string | null = identity;
  for (let hop = 0; uuid !== null && hop <= MAX_MERGE_HOPS; hop += 1) {
    const counted: { merged_into_uuid: string | null } | undefined = await trx
      .updateTable('attacker_identities')
      .set({
        observation_count: sql<number>`(select count(*) from identity_observations where identity_uuid = ${uuid})
          + (select coalesce(sum(merged.observation_count), 0) from attacker_identities as merged
             where merged.merged_into_uuid = ${uuid})`,
      })
      .where('uuid', '=', uuid)
      .returning('merged_into_uuid')
      .executeTakeFirst();
    uuid = counted?.merged_into_uuid ?? null;
  }
}

async function ensureIdentity(trx: Trx, uuid: string, at: string): Promise<void> {
  await trx
    .insertInto('attacker_identities')
    .values({ uuid, first_seen_at: at, last_seen_at: at, created_at: at, updated_at: at, observation_count: 0 })
    .onConflict((conflict) => conflict.column('uuid').doNothing())
    .execute();
}
