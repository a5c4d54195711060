import type { Domain } from '../domain.ts';
import { type OrchestratorRouteParts, orchestratorRoutes } from './routes.ts';

/** What the orchestrator did. Its stream comes with the projections. */
export function startOrchestrator({ db, authenticator }: OrchestratorRouteParts) {
  return { routes: orchestratorRoutes({ db, authenticator }) } satisfies Domain;
}
