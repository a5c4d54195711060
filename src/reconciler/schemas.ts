import { t } from 'elysia';
import { operation } from '../http/operation.ts';

const texts = t.Array(t.String());

export const reapOperation = operation('reapOrphans', {
  tag: 'topologies',
  summary: 'Remove at once what runs and no topology explains',
  access: 'admin',
  answers: {
    200: t.Object({
      live_prefixes: t.Array(t.String(), { description: 'How the ids of topologies begin' }),
      orphan_prefixes: texts,
      containers_removed: texts,
      networks_removed: texts,
      errors: t.Array(t.String(), { description: 'What could not be listed or removed' }),
    }),
  },
});
