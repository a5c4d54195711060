import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, message } from '../http/schemas.ts';

/** How many deckies the fleet may have. */
export const DEPLOYMENT_LIMIT = { min: 1, max: 500 };

/** Rows that there are when it is asked for. */
const purged = t.Object({ logs: integer, bounties: integer, credentials: integer, attackers: integer });

export const settingsOperations = {
  setDeploymentLimit: operation('setDeploymentLimit', {
    tag: 'users',
    summary: 'Say how many deckies the fleet may have',
    access: 'admin',
    body: t.Object({
      deployment_limit: t.Unsafe<number>({
        ...integer,
        minimum: DEPLOYMENT_LIMIT.min,
        maximum: DEPLOYMENT_LIMIT.max,
      }),
    }),
    answers: { 200: message },
  }),
  setMutationInterval: operation('setMutationInterval', {
    tag: 'users',
    summary: 'Say how often deckies change that have no interval of their own',
    access: 'admin',
    body: t.Object({ global_mutation_interval: t.String({ maxLength: 16, description: 'Such as 30m or 5d' }) }),
    answers: { 200: message },
  }),
  purge: operation('purgeData', {
    tag: 'users',
    summary:
      'Give up all lines of logs and all attackers, in developer mode: they go by an event in the log, soon after the answer',
    access: 'admin',
    answers: { 200: t.Object({ message: t.String(), deleted: purged }) },
  }),
};
