import type { Engine, Trx } from '../db/database.ts';
import { type RowsToRemove, removeSome } from '../db/remove-some.ts';
import { DEFAULT_LIMITS, limitsOf } from '../projection/keep.ts';
import { isoOf, textOf, textsOf } from '../projection/payload.ts';
import type { LoggedEvent, Projection } from '../projection/projection.ts';
import { keptRoster } from '../projection/retention.ts';
import { Roster, rosterCounter, rosterRows, strike } from '../projection/roster.ts';
import { MAX_MERGE_HOPS } from './repository.ts';

export const CAMPAIGN_PROJECTION = 'campaigns';

const MAX_ID = 128;
/** Keys of one statement. */
const CHUNK = 500;

/** Campaigns and which identities belong to them (contract §1.3, §6.2), as DECNET's clusterer tells them. */
export const campaignProjection = (engine: Engine, limits = limitsOf(DEFAULT_LIMITS)): Projection => ({
  name: CAMPAIGN_PROJECTION,
  version: 1,
  topics: ['campaign.formed', 'campaign.identity.assigned', 'campaign.merged', 'campaign.unmerged'],
  channels: ['campaign'],
  kept: [
    keptRoster('campaigns', async (trx, uuids) => {
      await trx.deleteFrom('campaigns').where('uuid', 'in', uuids).execute();
      await strike(new Roster(trx, engine, 'campaigns', limits.campaigns), uuids);
    }),
    keptRoster('members', async (trx, identities) => {
      await removeMembers(trx, identities);
      await strike(new Roster(trx, engine, 'members', limits.members), identities);
    }),
  ],
  async apply(trx, events) {
    const campaigns = new Roster(trx, engine, 'campaigns', limits.campaigns);
    const members = new Roster(trx, engine, 'members', limits.members);
    let skipped = 0;
    for (const event of events) {
      const told = await applyOne(trx, event);
      if (told === undefined) skipped += 1;
      else {
        await removeMembers(trx, await members.tell(told.identities));
        const gone = await campaigns.tell(await linesOf(trx, told.campaigns));
        if (gone.length > 0) await trx.deleteFrom('campaigns').where('uuid', 'in', gone).execute();
      }
    }
    await members.save();
    await campaigns.save();
    return skipped;
  },
  async clear(trx, most) {
    await trx.deleteFrom('counters').where('name', 'in', ROSTERS.map(rosterCounter)).execute();
    return removeSome(trx, OWNED, most);
  },
});

const ROSTERS = ['campaigns', 'members'] as const;
const OWNED: readonly RowsToRemove[] = [
  { table: 'campaign_members', key: ['identity_uuid'] },
  { table: 'campaigns', key: ['uuid'] },
  ...ROSTERS.map(rosterRows),
];

/** What an event told of. */
interface Told {
  readonly campaigns: readonly string[];
  readonly identities: readonly string[];
}

/** @returns `undefined` when the event held nothing that can be used */
async function applyOne(trx: Trx, event: LoggedEvent): Promise<Told | undefined> {
  const at = isoOf(event.ts);
  const uuid = (name: string) => textOf(event.payload, name, MAX_ID);
  const campaign = uuid('campaign_uuid');
  switch (event.topic) {
    case 'campaign.formed': {
      const identities = textsOf(event.payload, 'identity_uuids', { length: MAX_ID });
      return (await formed(trx, campaign, identities, at)) ? toldOf([campaign], identities) : undefined;
    }
    case 'campaign.identity.assigned': {
      const identity = uuid('identity_uuid');
      if (identity === undefined || !(await formed(trx, campaign, [identity], at))) return undefined;
      return toldOf([campaign], [identity]);
    }
    case 'campaign.merged': {
      const [loser, winner] = [uuid('loser_uuid'), uuid('winner_uuid')];
      return (await mergeInto(trx, loser, winner, at)) ? toldOf([loser, winner]) : undefined;
    }
    default: {
      const resurrected = uuid('resurrected_uuid');
      return (await mergeInto(trx, resurrected, null, at)) ? toldOf([resurrected]) : undefined;
    }
  }
}

const toldOf = (uuids: readonly (string | undefined)[], identities: readonly string[] = []): Told => ({
  campaigns: uuids.filter((uuid) => uuid !== undefined),
  identities,
});

/** Campaigns, each followed by those that it went into: whoever is merged into another one goes before it. */
async function linesOf(trx: Trx, campaigns: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const campaign of campaigns) {
    let next: string | null | undefined = campaign;
    for (let hop = 0; next && hop <= MAX_MERGE_HOPS; hop += 1) {
      lines.push(next);
      const row: { merged_into_uuid: string | null } | undefined = await trx
        .selectFrom('campaigns')
        .select('merged_into_uuid')
        .where('uuid', '=', next)
        .executeTakeFirst();
      next = row?.merged_into_uuid;
    }
  }
  return lines;
}

/** Identities of which nothing was told for longest: their campaigns have one less. */
async function removeMembers(trx: Trx, identities: readonly string[]): Promise<void> {
  const campaigns = new Set<string>();
  for (let first = 0; first < identities.length; first += CHUNK) {
    const rows = await trx
      .deleteFrom('campaign_members')
      .where('identity_uuid', 'in', identities.slice(first, first + CHUNK))
      .returning('campaign_uuid')
      .execute();
    for (const { campaign_uuid } of rows) campaigns.add(campaign_uuid);
  }
  for (const uuid of campaigns) await recount(trx, uuid);
}

async function formed(trx: Trx, campaign: string | undefined, identities: readonly string[], at: string) {
  if (campaign === undefined) return false;
  await ensureCampaign(trx, campaign, at);
  const members = [...new Set(identities)];
  const before = await campaignsOf(trx, members);
  if (members.length > 0) {
    await trx
      .insertInto('campaign_members')
      .values(members.map((identity_uuid) => ({ identity_uuid, campaign_uuid: campaign })))
      .onConflict((conflict) => conflict.column('identity_uuid').doUpdateSet({ campaign_uuid: campaign }))
      .execute();
  }
  for (const uuid of new Set([campaign, ...before])) await recount(trx, uuid, at);
  return true;
}

async function campaignsOf(trx: Trx, identities: readonly string[]): Promise<string[]> {
  if (identities.length === 0) return [];
  const rows = await trx
    .selectFrom('campaign_members')
    .select('campaign_uuid')
    .where('identity_uuid', 'in', identities)
    .distinct()
    .execute();
  return rows.map(({ campaign_uuid }) => campaign_uuid);
}

/** @param at when an event told of it; without, only the count changes */
async function recount(trx: Trx, campaign: string, at?: string): Promise<void> {
  await trx
    .updateTable('campaigns')
    .set((eb) => ({
      identity_count: eb
        .selectFrom('campaign_members')
        .select(eb.fn.countAll<number>().as('members'))
        .where('campaign_uuid', '=', campaign),
      ...(at === undefined ? {} : { last_seen_at: at, updated_at: at }),
    }))
    .where('uuid', '=', campaign)
    .execute();
}

async function mergeInto(trx: Trx, campaign: string | undefined, winner: string | null | undefined, at: string) {
  if (campaign === undefined || winner === undefined || campaign === winner) return false;
  await ensureCampaign(trx, campaign, at);
  await trx
    .updateTable('campaigns')
    .set({ merged_into_uuid: winner, updated_at: at })
    .where('uuid', '=', campaign)
    .execute();
  if (winner === null) return true;
  await ensureCampaign(trx, winner, at);
  await trx
    .updateTable('campaign_members')
    .set({ campaign_uuid: winner })
    .where('campaign_uuid', '=', campaign)
    .execute();
  await recount(trx, winner, at);
  await recount(trx, campaign, at);
  return true;
}

async function ensureCampaign(trx: Trx, uuid: string, at: string): Promise<void> {
  await trx
    .insertInto('campaigns')
    .values({
      uuid,
      first_seen_at: at,
      last_seen_at: at,
      created_at: at,
      updated_at: at,
      confidence: null,
      ja3_hashes: null,
      hassh_hashes: null,
      tls_cert_sha256: null,
      payload_simhashes: null,
      c2_endpoints: null,
      merged_into_uuid: null,
      notes: null,
    })
    .onConflict((conflict) => conflict.column('uuid').doNothing())
    .execute();
}
