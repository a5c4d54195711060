import { Elysia, t } from 'elysia';
import { guard } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { redirectToSlash } from '../http/redirect-to-slash.ts';
import { catalogRoutes } from './catalog-routes.ts';
import { createRoutes } from './creation/create-routes.ts';
import { editRoutes } from './editing/edit-routes.ts';
import { enqueueMutation } from './enqueue.ts';
import { lifecycleRoutes } from './lifecycle/lifecycle-routes.ts';
import { deckyOf, edgeOf, lanOf, mutationOf, summaryOf } from './model.ts';
import { parseMutationRequest } from './mutation-request.ts';
import { personaRoutes } from './persona-routes.ts';
import {
  findTopology,
  listMutations,
  listStatusEvents,
  listTopologies,
  type TopologyParts,
  topologyExists,
} from './repository.ts';
import type { TopologyRouteParts } from './route-parts.ts';
import { topologyOperations } from './schemas.ts';

const page = t.Object({
  limit: t.Integer({ minimum: 1, maximum: 500, default: 50 }),
  offset: t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 }),
  status: t.Optional(t.String()),
});
const newest = t.Object({ limit: t.Integer({ minimum: 1, maximum: 1000, default: 100 }) });
const byState = t.Object({ state: t.Optional(t.String()) });

/** Topologies and their mutations (contract §5.4, §5.5, §5.9). */
export function topologyRoutes(parts: TopologyRouteParts) {
  return new Elysia({ name: 'topology-routes' })
    .use(catalogRoutes(parts))
    .use(reads(parts))
    .use(writes(parts))
    .use(createRoutes(parts))
    .use(personaRoutes(parts))
    .use(editRoutes(parts))
    .use(lifecycleRoutes(parts));
}

function reads({ db, authenticator }: TopologyRouteParts) {
  return new Elysia()
    .use(guard(authenticator, 'viewer'))
    .get('/topologies/', ({ query }) => listOnWire(db, query), {
      query: page,
      beforeHandle: redirectToSlash,
      ...topologyOperations.list,
    })
    .get(
      '/topologies/:id',
      async ({ params }) => partsOnWire(found(await findTopology(db, params.id))),
      topologyOperations.read,
    )
    .get(
      '/topologies/:id/status-events',
      async ({ params, query }) => {
        await assertExists(db, params.id);
        return listStatusEvents(db, params.id, query.limit);
      },
      { query: newest, ...topologyOperations.statusEvents },
    )
    .get(
      '/topologies/:id/mutations',
      async ({ params, query }) => {
        await assertExists(db, params.id);
        return (await listMutations(db, params.id, query.state)).map(mutationOf);
      },
      { query: byState, ...topologyOperations.mutations },
    );
}

function writes({ db, authenticator, onCommitted }: TopologyRouteParts) {
  return new Elysia().use(guard(authenticator, 'admin')).post(
    '/topologies/:id/mutations',
    async ({ params, body, set }) => {
      const mutationId = await enqueueMutation(db, params.id, parseMutationRequest(body));
      onCommitted();
      set.status = 202;
      return { mutation_id: mutationId, state: 'pending' };
    },
    topologyOperations.enqueue,
  );
}

async function listOnWire(db: Db, query: typeof page.static) {
  const { total, rows } = await listTopologies(db, query);
  return { total, limit: query.limit, offset: query.offset, data: rows.map(summaryOf) };
}

function partsOnWire({ topology, lans, deckies, edges }: TopologyParts) {
  const lanNames = new Map(lans.map((lan) => [lan.id, lan.name]));
  const homes = new Map(
    edges.filter((edge) => edge.is_bridge === 0).map((edge) => [edge.decky_uuid, lanNames.get(edge.lan_id)]),
  );
  return {
    topology: summaryOf(topology),
    lans: lans.map(lanOf),
    deckies: deckies.map((decky) => deckyOf(decky, homes.get(decky.uuid))),
    edges: edges.map(edgeOf),
  };
}

function found<T>(value: T | undefined): T {
  if (value === undefined) throw notFound();
  return value;
}

async function assertExists(db: Db, id: string): Promise<void> {
  if (!(await topologyExists(db, id))) throw notFound();
}

const notFound = () => new AppError('not_found', 'Topology not found');
