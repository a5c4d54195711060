import type { Db } from '../db/database.ts';
import { projectedSnapshot } from '../projection/snapshot.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { CAMPAIGN_PROJECTION } from './campaign-projection.ts';
import { recentCampaigns } from './repository.ts';
import { campaignSnapshotSchema } from './schemas.ts';

const CHANNEL = 'campaign';
const TOPICS = ['campaign.>'];
/** Contract §3.3. */
const MAX_CAMPAIGNS = 50;

/** `GET /campaigns/events` (contract §3.3). */
export function campaignStream(db: Db): StreamDeclaration {
  return {
    name: 'campaign',
    path: '/campaigns/events',
    channel: () => CHANNEL,
    eventName: (topic) => topic.slice('campaign.'.length) || topic,
    topics: TOPICS,
    summary: 'Follow what becomes known of campaigns',
    snapshotSchema: campaignSnapshotSchema,
    snapshot: () =>
      projectedSnapshot(db, CAMPAIGN_PROJECTION, CHANNEL, async (trx) => ({
        campaigns: await recentCampaigns(trx, { limit: MAX_CAMPAIGNS, offset: 0 }),
      })),
  };
}
