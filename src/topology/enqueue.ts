import { createEvent, type JsonObject, newEventId } from '../bus/event.ts';
import { appendToOutbox } from '../bus/outbox.ts';
import { topics } from '../bus/topic.ts';
import type { Db, Trx } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { lockTopology } from './lock.ts';
import { LIVE_STATUSES } from './model.ts';
import type { MutationRequest } from './mutation-request.ts';

/**
 * Queues a mutation: the version check, the row and its `mutation.enqueued` event are one transaction.
 * @param now milliseconds since the epoch
 * @returns the new mutation's id
 * @throws {AppError} `not_found`, or `conflict` when the topology is not live or has another version
 * @throws {EventError} when the payload nests too deep or is too large to be told
 */
export function enqueueMutation(
  db: Db,
  topologyId: string,
  request: MutationRequest,
  now: () => number = Date.now,
): Promise<string> {
  return db.transaction().execute(async (trx) => {
    await claimTopology(trx, topologyId, request.expectedVersion);
    const at = now();
    const mutationId = crypto.randomUUID();
    const { op, payload } = request;
    const topic = topics.topologyMutation(topologyId, 'enqueued');
    const reported = { mutation_id: mutationId, op, payload };
    const event = createEvent(topic, 'enqueued', reported, newEventId(), at);
    const text = JSON.stringify(payload);
    assertApplicable(topologyId, { ...reported, payload: text });
    await trx
      .insertInto('topology_mutations')
      .values({
        id: mutationId,
        topology_id: topologyId,
        op,
        payload: text,
        state: 'pending',
        queue_position: await nextQueuePosition(trx, topologyId),
        requested_at: new Date(at).toISOString(),
        applied_at: null,
        reason: null,
      })
      .execute();
    await appendToOutbox(trx, [event]);
    return mutationId;
  });
}

/**
 * What is accepted can be told to its end: the mutator tells the payload as text, which escapes make larger.
 * @throws {EventError}
 */
function assertApplicable(topologyId: string, reported: JsonObject): void {
  createEvent(topics.topologyMutation(topologyId, 'applying'), 'applying', reported);
}

/**
 * Compare and swap, in the order of contract §5.4. The topology's row is locked until the commit: whatever is compared below
 * cannot change, and the topology's queue is filled one by one.
 */
async function claimTopology(trx: Trx, id: string, expectedVersion: number | undefined): Promise<void> {
  const topology = await lockTopology(trx, id);
  if (!LIVE_STATUSES.includes(topology.status)) {
    throw new AppError(
      'conflict',
      `The topology is ${topology.status}; mutations are queued only while it is ${LIVE_STATUSES.join(' or ')}`,
    );
  }
  if (expectedVersion === undefined) return;
  if (expectedVersion !== topology.version) {
    throw new AppError('conflict', `Version conflict: expected ${expectedVersion}, current ${topology.version}`);
  }
  await trx
    .updateTable('topologies')
    .set({ version: topology.version + 1 })
    .where('id', '=', id)
    .execute();
}

async function nextQueuePosition(trx: Trx, topologyId: string): Promise<number> {
  const { last } = await trx
    .selectFrom('topology_mutations')
    .select((eb) => eb.fn.max('queue_position').as('last'))
    .where('topology_id', '=', topologyId)
    .executeTakeFirstOrThrow();
  return (last ?? 0) + 1;
}
