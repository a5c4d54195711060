import { authModels } from '../auth/schemas.ts';
import { deckyModels } from '../decky/schemas.ts';
import { httpModels } from '../http/schemas.ts';
import { identityModels } from '../identity/schemas.ts';
import { ingressModels } from '../ingress/schemas.ts';
import { outboxModels } from '../outbox/schemas.ts';
import { topologyModels } from '../topology/schemas.ts';
import { webhookModels } from '../webhook/schemas.ts';

/** The schemas that `ref(name)` names, of both documents. */
export const models = {
  ...httpModels,
  ...authModels,
  ...topologyModels,
  ...deckyModels,
  ...identityModels,
  ...ingressModels,
  ...outboxModels,
  ...webhookModels,
};
