import type { Trx } from '../db/database.ts';
import { isoOf, textOf, textsOf } from '../projection/payload.ts';
import { applyEach, type LoggedEvent, type Projection } from '../projection/projection.ts';

/** Campaigns and which identities belong to them (contract §1.3, §6.2), as DECNET's clusterer tells them. */
export const campaignProjection: Projection = {
  name: 'campaigns',
  version: 1,
  topics: ['campaign.formed', 'campaign.identity.assigned', 'campaign.merged', 'campaign.unmerged'],
  channels: ['campaign'],
  apply: (trx, events) => applyEach(events, (event) => applyOne(trx, event)),
  async clear(trx) {
    await trx.deleteFrom('campaign_members').execute();
    await trx.deleteFrom('campaigns').execute();
  },
};

/** @returns false when the event held nothing that can be used */
function applyOne(trx: Trx, event: LoggedEvent): Promise<boolean> {
  const at = isoOf(event.ts);
  const uuid = (name: string) => textOf(event.payload, name, 128);
  switch (event.topic) {
    case 'campaign.formed':
      return formed(trx, uuid('campaign_uuid'), textsOf(event.payload, 'identity_uuids'), at);
    case 'campaign.identity.assigned': {
      const identity = uuid('identity_uuid');
      return identity === undefined ? Promise.resolve(false) : formed(trx, uuid('campaign_uuid'), [identity], at);
    }
    case 'campaign.merged':
      return mergeInto(trx, uuid('loser_uuid'), uuid('winner_uuid'), at);
    default:
      return mergeInto(trx, uuid('resurrected_uuid'), null, at);
  }
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

async function recount(trx: Trx, campaign: string, at: string): Promise<void> {
  await trx
    .updateTable('campaigns')
    .set((eb) => ({
      identity_count: eb
        .selectFrom('campaign_members')
        .select(eb.fn.countAll<number>().as('members'))
        .where('campaign_uuid', '=', campaign),
      last_seen_at: at,
      updated_at: at,
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
