import { Elysia } from 'elysia';
import { guard } from '../../auth/guard.ts';
import { deckyOf, edgeOf, lanOf } from '../model.ts';
import { expectedVersionOf } from '../mutation-request.ts';
import type { TopologyRouteParts } from '../route-parts.ts';
import { addDecky, parseDeckyPatch, parseDeckyRequest, patchDecky, removeDecky } from './decky-edits.ts';
import { addEdge, parseEdgeRequest, removeEdge } from './edge-edits.ts';
import { editTopology } from './edit.ts';
import { addLan, parseLanPatch, parseLanRequest, patchLan, removeLan } from './lan-edits.ts';
import { editOperations } from './schemas.ts';

/** Edits of a pending topology (contract §5.9). A deletion takes `expected_version` from the query: it has no body. */
export function editRoutes({ db, authenticator }: Pick<TopologyRouteParts, 'db' | 'authenticator'>) {
  return new Elysia()
    .use(guard(authenticator, 'admin'))
    .post(
      '/topologies/:id/lans',
      async ({ params, body, set }) => {
        const request = parseLanRequest(body);
        const lan = await editTopology(db, params.id, request.expectedVersion, addLan(request));
        set.status = 201;
        return lanOf(lan);
      },
      editOperations.addLan,
    )
    .patch(
      '/topologies/:id/lans/:lan',
      async ({ params, body }) => {
        const patch = parseLanPatch(body);
        return lanOf(await editTopology(db, params.id, patch.expectedVersion, patchLan(params.lan, patch)));
      },
      editOperations.patchLan,
    )
    .delete(
      '/topologies/:id/lans/:lan',
      async ({ params, query }) => {
        await editTopology(db, params.id, expectedVersionOf(query.expected_version), removeLan(params.lan));
        return noContent();
      },
      editOperations.removeLan,
    )
    .post(
      '/topologies/:id/deckies',
      async ({ params, body, set }) => {
        const request = parseDeckyRequest(body);
        const decky = await editTopology(db, params.id, request.expectedVersion, addDecky(request));
        set.status = 201;
        return deckyOf(decky, undefined);
      },
      editOperations.addDecky,
    )
    .patch(
      '/topologies/:id/deckies/:decky',
      async ({ params, body }) => {
        const patch = parseDeckyPatch(body);
        const decky = await editTopology(db, params.id, patch.expectedVersion, patchDecky(params.decky, patch));
        return deckyOf(decky, undefined);
      },
      editOperations.patchDecky,
    )
    .delete(
      '/topologies/:id/deckies/:decky',
      async ({ params, query }) => {
        await editTopology(db, params.id, expectedVersionOf(query.expected_version), removeDecky(params.decky));
        return noContent();
      },
      editOperations.removeDecky,
    )
    .post(
      '/topologies/:id/edges',
      async ({ params, body, set }) => {
        const request = parseEdgeRequest(body);
        const edge = await editTopology(db, params.id, request.expectedVersion, addEdge(request));
        set.status = 201;
        return edgeOf(edge);
      },
      editOperations.addEdge,
    )
    .delete(
      '/topologies/:id/edges/:edge',
      async ({ params, query }) => {
        await editTopology(db, params.id, expectedVersionOf(query.expected_version), removeEdge(params.edge));
        return noContent();
      },
      editOperations.removeEdge,
    );
}

const noContent = () => new Response(null, { status: 204 });
