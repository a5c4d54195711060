import { countUpTo } from '../db/count-up-to.ts';
import type { Db, Trx } from '../db/database.ts';
import type { CampaignRow, IdentityRow } from '../db/schema.ts';
import { isStorable } from '../db/storable.ts';
import { COUNT_LIMIT, type Page, type Paged } from '../http/paging.ts';

// Merges form chains; more hops than these, or a circle, is damage that a read must survive (contract P6).
export const MAX_MERGE_HOPS = 8;

/** One page of {@link recentCampaigns}, and how many there are. */
export async function listCampaigns(db: Db, page: Page): Promise<Paged<CampaignRow>> {
  const total = await countUpTo(db, db.selectFrom('campaigns').where('merged_into_uuid', 'is', null), COUNT_LIMIT);
  return { total, rows: page.offset >= total ? [] : await recentCampaigns(db, page) };
}

/** The campaigns that have not been merged into another, newest update first. */
export function recentCampaigns(db: Db | Trx, { limit, offset }: Page): Promise<CampaignRow[]> {
  return db
    .selectFrom('campaigns')
    .selectAll()
    .where('merged_into_uuid', 'is', null)
    .orderBy('updated_at', 'desc')
    .orderBy('uuid', 'desc')
    .limit(limit)
    .offset(offset)
    .execute();
}

/**
 * The campaign that a uuid stands for today: the winner of its merges, at most {@link MAX_MERGE_HOPS} away.
 * @returns `undefined` when there is no campaign of that uuid; the last one that exists when a chain ends nowhere
 */
export async function canonicalCampaign(db: Db, uuid: string): Promise<CampaignRow | undefined> {
  let campaign = await findCampaign(db, uuid);
  for (let hop = 0; hop < MAX_MERGE_HOPS; hop += 1) {
    if (campaign === undefined || campaign.merged_into_uuid === null) break;
    const winner = await findCampaign(db, campaign.merged_into_uuid);
    if (winner === undefined) break;
    campaign = winner;
  }
  return campaign;
}

async function findCampaign(db: Db, uuid: string): Promise<CampaignRow | undefined> {
  if (!isStorable(uuid)) return undefined;
  return db.selectFrom('campaigns').selectAll().where('uuid', '=', uuid).executeTakeFirst();
}

/** The identities of a campaign that have not been merged into another, newest update first. */
export async function listMembers(db: Db, campaign: string, page: Page): Promise<Paged<IdentityRow>> {
  const total = await countMembers(db, campaign);
  if (page.offset >= total) return { total, rows: [] };
  const rows = await members(db, campaign)
    .selectAll('attacker_identities')
    .orderBy('attacker_identities.updated_at', 'desc')
    .orderBy('attacker_identities.uuid')
    .limit(page.limit)
    .offset(page.offset)
    .execute();
  return { total, rows: rows.map((row) => ({ ...row, campaign_id: campaign })) };
}

/** How many {@link listMembers} lists in all. */
export function countMembers(db: Db, campaign: string): Promise<number> {
  return countUpTo(db, members(db, campaign), COUNT_LIMIT);
}

function members(db: Db, campaign: string) {
  return db
    .selectFrom('campaign_members')
    .innerJoin('attacker_identities', 'attacker_identities.uuid', 'campaign_members.identity_uuid')
    .where('campaign_members.campaign_uuid', '=', campaign)
    .where('attacker_identities.merged_into_uuid', 'is', null);
}
