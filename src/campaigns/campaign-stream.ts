import type { Db } from '../db/database.ts';
import { projectedSnapshot } from '../projection/snapshot.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { campaignProjection } from './campaign-projection.ts';
import { recentCampaigns } from './repository.ts';

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
    snapshot: () =>
      projectedSnapshot(db, campaignProjection.name, CHANNEL, async (trx) => ({
        campaigns: await recentCampaigns(trx, { limit: MAX_CAMPAIGNS, offset: 0 }),
      })),
  };
}
