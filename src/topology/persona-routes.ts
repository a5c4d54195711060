import { Elysia } from 'elysia';
import { guard } from '../auth/guard.ts';
import type { Json } from '../bus/event.ts';
import { AppError } from '../errors.ts';
import { bodyObject } from '../http/body-fields.ts';
import { readPersonas, writePersonas } from './personas.ts';
import type { TopologyRouteParts } from './route-parts.ts';

/** Who seems to write mail in a topology (contract P3). */
export function personaRoutes({ db, authenticator }: Pick<TopologyRouteParts, 'db' | 'authenticator'>) {
  const reads = new Elysia()
    .use(guard(authenticator, 'viewer'))
    .get('/topologies/:id/personas', ({ params }) => readPersonas(db, params.id));
  const writes = new Elysia()
    .use(guard(authenticator, 'admin'))
    .put('/topologies/:id/personas', ({ params, body }) => writePersonas(db, params.id, entriesIn(body)));
  return new Elysia().use(reads).use(writes);
}

function entriesIn(body: unknown): readonly Json[] {
  const { personas } = bodyObject(body);
  if (Array.isArray(personas)) return personas;
  throw new AppError('bad_request', 'personas must be a list');
}
