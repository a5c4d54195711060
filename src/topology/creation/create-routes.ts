import { Elysia } from 'elysia';
import { guard } from '../../auth/guard.ts';
import { redirectToSlash } from '../../http/redirect-to-slash.ts';
import { summaryOf } from '../model.ts';
import type { TopologyRouteParts } from '../route-parts.ts';
import { BLANK_DRAFT } from './blank.ts';
import { createTopology } from './create.ts';
import { parseBlankRequest, parseGeneratorRequest } from './create-request.ts';
import { generateDraft } from './generate.ts';
import { creationOperations } from './schemas.ts';

/** New topologies: blank, or grown by the generator (contract §5.9). */
export function createRoutes({ db, authenticator, onCommitted }: TopologyRouteParts) {
  return new Elysia()
    .use(guard(authenticator, 'admin'))
    .post(
      '/topologies/blank',
      async ({ body, set }) => {
        const row = await createTopology(db, parseBlankRequest(body), BLANK_DRAFT);
        onCommitted();
        set.status = 201;
        return summaryOf(row);
      },
      creationOperations.blank,
    )
    .post(
      '/topologies/',
      async ({ body, set }) => {
        const { topology, request } = parseGeneratorRequest(body, randomSeed);
        const row = await createTopology(db, topology, generateDraft(request));
        onCommitted();
        set.status = 201;
        return summaryOf(row);
      },
      { beforeHandle: redirectToSlash, ...creationOperations.generate },
    );
}

function randomSeed(): number {
  const [seed = 0] = crypto.getRandomValues(new Uint32Array(1));
  return seed;
}
