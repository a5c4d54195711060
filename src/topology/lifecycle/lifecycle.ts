import { topologyChannel } from '../../bus/channel.ts';
import { appendToOutbox } from '../../bus/outbox.ts';
import type { Db } from '../../db/database.ts';
import type { TopologyRow } from '../../db/schema.ts';
import { AppError } from '../../errors.ts';
import { lockTopology } from '../lock.ts';
import { loadState } from '../state.ts';
import { type TopologyStatus, transition } from '../status.ts';
import { topologyDeleted } from './deleted.ts';
import { explain, obstaclesOf } from './deployable.ts';

/** A deployment that only writes down what is to run takes that long; each look after it waits twice as long. */
const FIRST_LOOK_MS = 10;

const DELETABLE: readonly string[] = ['pending', 'torn_down', 'failed'] satisfies TopologyStatus[];

/**
 * Asks for a pending topology to be deployed: the `LifecycleWorker` of any node does it. One that cannot be deployed stays
 * pending, because nothing leads back from `failed` to where it can be mended.
 * @returns the topology as it was before
 * @throws {AppError} `not_found`, or `conflict` when it is not pending, or with what keeps it from being deployed
 */
export function requestDeploy(db: Db, topologyId: string, now: () => number = Date.now): Promise<TopologyRow> {
  return db.transaction().execute(async (trx) => {
    const before = await lockTopology(trx, topologyId);
    const event = await transition(trx, topologyId, ['pending'], 'deploying', null, now());
    const state = await loadState(trx, topologyId);
    const obstacles = state === undefined ? [] : obstaclesOf(state);
    if (obstacles.length > 0) throw new AppError('conflict', `This cannot be deployed: ${explain(obstacles)}`);
    await appendToOutbox(trx, [event]);
    return before;
  });
}

/**
 * Waits as long as a topology is being deployed, on whichever node. DECNET's editor asks once for the topology after it has
 * had it deployed, and never again before somebody reloads the page: most deployments are over by then.
 * @param limitMs milliseconds after which it returns all the same
 */
export async function waitWhileDeploying(db: Db, topologyId: string, limitMs: number): Promise<void> {
  const until = performance.now() + limitMs;
  for (let pauseMs = FIRST_LOOK_MS; performance.now() < until; pauseMs *= 2) {
    await Bun.sleep(Math.min(pauseMs, until - performance.now()));
    if (!(await isDeploying(db, topologyId))) return;
  }
}

/** False, too, when it cannot be told: what was asked for is committed, and is not to be answered by an error. */
async function isDeploying(db: Db, topologyId: string): Promise<boolean> {
  const row = db.selectFrom('topologies').select('status').where('id', '=', topologyId).executeTakeFirst();
  return row.then(
    (found) => found?.status === 'deploying',
    () => false,
  );
}

/**
 * Asks for what runs of a topology to be taken down, a deployment under way included.
 * @returns the topology as it was before
 * @throws {AppError} `not_found`, or `conflict` when there is nothing to take down
 */
export function requestTeardown(db: Db, topologyId: string, now: () => number = Date.now): Promise<TopologyRow> {
  return db.transaction().execute(async (trx) => {
    const before = await lockTopology(trx, topologyId);
    const at = now();
    const from = ['active', 'degraded', 'failed', 'deploying'] as const;
    const event = await transition(trx, topologyId, from, 'tearing_down', null, at);
    await trx
      .updateTable('topology_deckies')
      .set({ state: 'tearing_down', updated_at: new Date(at).toISOString() })
      .where('topology_id', '=', topologyId)
      .execute();
    await appendToOutbox(trx, [event]);
    return before;
  });
}

/**
 * Deletes a topology that does not run, with its parts, its history and its channel: what waits in the outbox is published
 * before the channel goes.
 * @throws {AppError} `not_found`, or `conflict` when it runs
 */
export function deleteTopology(db: Db, topologyId: string, now: () => number = Date.now): Promise<void> {
  return db.transaction().execute(async (trx) => {
    const { status } = await lockTopology(trx, topologyId);
    if (!DELETABLE.includes(status)) {
      throw new AppError('conflict', `The topology is ${status}; only ${DELETABLE.join(', ')} ones can be deleted`);
    }
    // Edges refer to deckies and LANs as well, without a cascade.
    await trx.deleteFrom('topology_edges').where('topology_id', '=', topologyId).execute();
    await trx.deleteFrom('topologies').where('id', '=', topologyId).execute();
    await appendToOutbox(trx, [topologyDeleted(topologyId, now())], topologyChannel(topologyId));
  });
}
