import { attackerModels } from '../attackers/schemas.ts';
import { authModels } from '../auth/schemas.ts';
import { campaignModels } from '../campaigns/schemas.ts';
import { deckyModels } from '../decky/schemas.ts';
import { httpModels } from '../http/schemas.ts';
import { identityModels } from '../identity/schemas.ts';
import { ingressModels } from '../ingress/schemas.ts';
import { logModels } from '../logs/schemas.ts';
import { orchestratorModels } from '../orchestrator/schemas.ts';
import { outboxModels } from '../outbox/schemas.ts';
import { tarpitModels } from '../tarpit/schemas.ts';
import { personaModels } from '../topology/persona-schemas.ts';
import { topologyModels } from '../topology/schemas.ts';
import { webhookModels } from '../webhook/schemas.ts';
import { workerModels } from '../workers/schemas.ts';

/** The schemas that `ref(name)` names, of both documents. */
export const models = {
  ...httpModels,
  ...authModels,
  ...topologyModels,
  ...personaModels,
  ...deckyModels,
  ...tarpitModels,
  ...identityModels,
  ...attackerModels,
  ...campaignModels,
  ...orchestratorModels,
  ...logModels,
  ...workerModels,
  ...ingressModels,
  ...outboxModels,
  ...webhookModels,
};
