import type { Domain } from '../domain.ts';
import { type CampaignRouteParts, campaignRoutes } from './routes.ts';

/** Campaigns: identities that act together. Their stream comes with the projections. */
export function startCampaigns({ db, authenticator }: CampaignRouteParts) {
  return { routes: campaignRoutes({ db, authenticator }) } satisfies Domain;
}
