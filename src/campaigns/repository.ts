import type { Db, Trx } from '../db/database.ts';
import type { CampaignRow } from '../db/schema.ts';

/** The campaigns that have not been merged into another, newest update first. */
export function recentCampaigns(
  db: Db | Trx,
  { limit, offset }: { limit: number; offset: number },
): Promise<CampaignRow[]> {
  return db
    .selectFrom('campaigns')
    .selectAll()
    .where('merged_into_uuid', 'is', null)
    .orderBy('updated_at', 'desc')
    .orderBy('uuid')
    .limit(limit)
    .offset(offset)
    .execute();
}
