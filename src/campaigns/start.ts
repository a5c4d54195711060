import type { Domain } from '../domain.ts';
import { FreshRows, type FreshRowsParts } from '../projection/fresh-rows.ts';
import { type CampaignRouteParts, campaignRoutes } from './routes.ts';

/** Campaigns: identities that act together. Their stream comes with the projections. */
export function startCampaigns(parts: Omit<CampaignRouteParts, 'freshRows'> & FreshRowsParts) {
  const { db, authenticator } = parts;
  return { routes: campaignRoutes({ db, authenticator, freshRows: new FreshRows(parts) }) } satisfies Domain;
}
