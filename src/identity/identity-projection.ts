import { sql } from 'kysely';
import type { Engine, Trx } from '../db/database.ts';
import { type RowsToRemove, removeSome } from '../db/remove-some.ts';
import { DEFAULT_LIMITS, limitsOf } from '../projection/keep.ts';
import { isoOf, MAX_COUNT, textOf, textsOf } from '../projection/payload.ts';
import type { LoggedEvent, Projection } from '../projection/projection.ts';
import { keptRoster } from '../projection/retention.ts';
import { Roster, rosterCounter, rosterRows, strike } from '../projection/roster.ts';
import { MAX_MERGE_HOPS } from './repository.ts';

export const IDENTITY_PROJECTION = 'identities';

const MAX_ID = 128;
/** Rows of one statement. */
const CHUNK = 500;

/**
 * Identities as a clusterer tells them (contract §1.3, §6.1). What it knows of their fingerprints it keeps to itself: those
 * columns stay null, or as they are in rows that were written together with their event.
 */
export const identityProjection = (engine: Engine, limits = limitsOf(DEFAULT_LIMITS)): Projection => ({
  name: IDENTITY_PROJECTION,
  version: 1,
  topics: [
    'identity.formed',
    'identity.observation.linked',
    'identity.merged',
    'identity.unmerged',
    'identity.campaign.assigned',
  ],
  channels: ['identity'],
  kept: [
    keptRoster('identities', async (trx, uuids) => {
      await removeIdentities(trx, uuids);
      await strike(new Roster(trx, engine, 'identities', limits.identities), uuids);
    }),
    keptRoster('linked', async (trx, observations) => {
      await removeLinks(trx, observations);
      await strike(new Roster(trx, engine, 'linked', limits.linked), observations);
    }),
  ],
  async apply(trx, events) {
    const identities = new Roster(trx, engine, 'identities', limits.identities);
    const linked = new Roster(trx, engine, 'linked', limits.linked);
    let skipped = 0;
    for (const event of events) {
      const told = await applyOne(trx, event);
      if (told === undefined) skipped += 1;
      else {
        await removeLinks(trx, await linked.tell(told.observations));
        const lines = [];
        for (const uuid of told.identities) lines.push(...(await lineOf(trx, uuid)));
        await removeIdentities(trx, await identities.tell(lines));
      }
    }
    await linked.save();
    await identities.save();
    return skipped;
  },
  async clear(trx, most) {
    await trx.deleteFrom('counters').where('name', 'in', ROSTERS.map(rosterCounter)).execute();
    return removeSome(trx, OWNED, most);
  },
});

const ROSTERS = ['identities', 'linked'] as const;
const OWNED: readonly RowsToRemove[] = [
  { table: 'identity_observations', key: ['observation_uuid'] },
  { table: 'attacker_identities', key: ['uuid'] },
  ...ROSTERS.map(rosterRows),
];

/** What an event told of. */
interface Told {
  readonly identities: readonly string[];
  readonly observations: readonly string[];
}

/** @returns `undefined` when the event held nothing that can be used */
async function applyOne(trx: Trx, { topic, ts, payload }: LoggedEvent): Promise<Told | undefined> {
  const at = isoOf(ts);
  const uuid = (name: string) => textOf(payload, name, MAX_ID);
  const identity = uuid('identity_uuid');
  const [loser, winner] = [uuid('loser_uuid'), uuid('winner_uuid')];
  const [resurrected, former] = [uuid('resurrected_uuid'), uuid('former_winner_uuid')];
  switch (topic) {
    case 'identity.formed':
      return told(observed, trx, identity, textsOf(payload, 'observation_uuids', { length: MAX_ID }), at);
    case 'identity.observation.linked': {
      const observation = uuid('observation_uuid');
      return observation === undefined ? undefined : told(observed, trx, identity, [observation], at);
    }
    case 'identity.merged':
      return (await mergeInto(trx, loser, winner, at)) ? toldOf([loser, winner]) : undefined;
    case 'identity.unmerged':
      return (await unmerge(trx, resurrected, former, at)) ? toldOf([former, resurrected]) : undefined;
    default:
      return (await assign(trx, identity, uuid('campaign_uuid'), at)) ? toldOf([identity]) : undefined;
  }
}

const toldOf = (uuids: readonly (string | undefined)[], observations: readonly string[] = []): Told => ({
  identities: uuids.filter((uuid) => uuid !== undefined),
  observations,
});

async function told(
  apply: typeof observed,
  trx: Trx,
  identity: string | undefined,
  observations: readonly string[],
  at: string,
): Promise<Told | undefined> {
  return (await apply(trx, identity, observations, at)) ? toldOf([identity], observations) : undefined;
}

/**
 * An identity and those that it went into, in this order: whoever is merged into another one is told of before it, so that
 * the winner never goes first.
 */
async function lineOf(trx: Trx, identity: string): Promise<string[]> {
  const line = [identity];
  for (let hop = 0; hop < MAX_MERGE_HOPS; hop += 1) {
    const row = await trx
      .selectFrom('attacker_identities')
      .select('merged_into_uuid')
      .where('uuid', '=', line.at(-1) ?? identity)
      .executeTakeFirst();
    if (!row?.merged_into_uuid || line.includes(row.merged_into_uuid)) break;
    line.push(row.merged_into_uuid);
  }
  return line;
}

/** What they were told to be made of stays known, as long as it is among what was told of last. */
async function removeIdentities(trx: Trx, uuids: readonly string[]): Promise<void> {
  for (const uuid of uuids) {
    const gone = await trx
      .deleteFrom('attacker_identities')
      .where('uuid', '=', uuid)
      .returning('merged_into_uuid')
      .executeTakeFirst();
    if (gone?.merged_into_uuid) await recount(trx, gone.merged_into_uuid);
  }
}

async function removeLinks(trx: Trx, observations: readonly string[]): Promise<void> {
  const identities = new Set<string>();
  for (let first = 0; first < observations.length; first += CHUNK) {
    const rows = await trx
      .deleteFrom('identity_observations')
      .where('observation_uuid', 'in', observations.slice(first, first + CHUNK))
      .returning('identity_uuid')
      .execute();
    for (const { identity_uuid } of rows) identities.add(identity_uuid);
  }
  for (const uuid of identities) await recount(trx, uuid);
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
        // Merges in a circle count each other: the number stays one that the column can hold.
        observation_count: sql<number>`(select case when counted > ${MAX_COUNT} then ${MAX_COUNT} else counted end from (select
          (select count(*) from identity_observations where identity_uuid = ${uuid})
          + (select coalesce(sum(merged.observation_count), 0) from attacker_identities as merged
             where merged.merged_into_uuid = ${uuid}) as counted) as sums)`,
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
