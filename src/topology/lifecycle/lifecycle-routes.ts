import { Elysia } from 'elysia';
import { guard } from '../../auth/guard.ts';
import type { TopologyRow } from '../../db/schema.ts';
import { summaryOf } from '../model.ts';
import type { TopologyRouteParts } from '../route-parts.ts';
import { deleteTopology, requestDeploy, requestTeardown, waitWhileDeploying } from './lifecycle.ts';
import { lifecycleOperations } from './schemas.ts';

/** From a plan to something that runs, and back (contract §5.9): the work itself is done in the background. */
export function lifecycleRoutes({ db, authenticator, onCommitted, onLifecycle, deployWaitMs = 0 }: TopologyRouteParts) {
  const accepted = (before: TopologyRow) => {
    onCommitted();
    onLifecycle?.();
    return Response.json(summaryOf(before), { status: 202 });
  };
  return new Elysia()
    .use(guard(authenticator, 'admin'))
    .post(
      '/topologies/:id/deploy',
      async ({ params }) => {
        const answer = accepted(await requestDeploy(db, params.id));
        await waitWhileDeploying(db, params.id, deployWaitMs);
        return answer;
      },
      lifecycleOperations.deploy,
    )
    .post(
      '/topologies/:id/teardown',
      async ({ params }) => accepted(await requestTeardown(db, params.id)),
      lifecycleOperations.teardown,
    )
    .delete(
      '/topologies/:id',
      async ({ params }) => {
        await deleteTopology(db, params.id);
        onCommitted();
        return new Response(null, { status: 204 });
      },
      lifecycleOperations.remove,
    );
}
