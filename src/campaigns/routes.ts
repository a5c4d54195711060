import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import type { CampaignRow } from '../db/schema.ts';
import { AppError } from '../errors.ts';
import { envelopeOf, pageFields } from '../http/paging.ts';
import { IDENTITY_PROJECTION } from '../identity/identity-projection.ts';
import type { FreshRows } from '../projection/fresh-rows.ts';
import { CAMPAIGN_PROJECTION } from './campaign-projection.ts';
import { canonicalCampaign, countMembers, listCampaigns, listMembers } from './repository.ts';
import { campaignOperations } from './schemas.ts';

export interface CampaignRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly freshRows: Pick<FreshRows, 'wait'>;
}

const page = t.Object(pageFields);
/** What the pages read again when they hear of an event. */
const FOLLOWED = [
  { projection: CAMPAIGN_PROJECTION, channel: 'campaign' },
  { projection: IDENTITY_PROJECTION, channel: 'identity' },
];

/** Campaigns and their identities (contract §6.2, P6). */
export function campaignRoutes({ db, authenticator, freshRows }: CampaignRouteParts) {
  return new Elysia({ name: 'campaign-routes' })
    .use(guard(authenticator, 'viewer'))
    .onBeforeHandle(() => freshRows.wait(FOLLOWED))
    .get('/campaigns', async ({ query }) => envelopeOf(await listCampaigns(db, query), query), {
      query: page,
      ...campaignOperations.list,
    })
    .get(
      '/campaigns/:uuid',
      async ({ params }) => {
        const campaign = await existing(db, params.uuid);
        return { ...campaign, identity_count_live: await countMembers(db, campaign.uuid) };
      },
      campaignOperations.read,
    )
    .get(
      '/campaigns/:uuid/identities',
      async ({ params, query }) => {
        const { uuid } = await existing(db, params.uuid);
        return envelopeOf(await listMembers(db, uuid, query), query);
      },
      { query: page, ...campaignOperations.identities },
    );
}

async function existing(db: Db, uuid: string): Promise<CampaignRow> {
  const campaign = await canonicalCampaign(db, uuid);
  if (campaign === undefined) throw new AppError('not_found', 'Campaign not found');
  return campaign;
}
