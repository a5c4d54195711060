import { createEvent, type Event } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import type { Trx } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { lockTopology } from './lock.ts';

/** The status machine of a topology (contract §5.2). Everything that is not listed is an error, self-loops included. */
export const TRANSITIONS = {
  pending: ['deploying', 'torn_down'],
  deploying: ['active', 'failed', 'degraded', 'tearing_down'],
  active: ['degraded', 'tearing_down'],
  degraded: ['active', 'tearing_down'],
  failed: ['tearing_down'],
  tearing_down: ['torn_down', 'degraded'],
  torn_down: [],
} as const satisfies Record<string, readonly string[]>;

export type TopologyStatus = keyof typeof TRANSITIONS;

export const STATUSES: readonly TopologyStatus[] = Object.keys(TRANSITIONS).filter(isStatus);

export function isStatus(text: string): text is TopologyStatus {
  return Object.hasOwn(TRANSITIONS, text);
}

/** Whether a topology may go from one status to the other. */
export function mayBecome(from: string, to: TopologyStatus): boolean {
  const allowed: readonly string[] = isStatus(from) ? TRANSITIONS[from] : [];
  return allowed.includes(to);
}

/**
 * Changes the status, appends the status event row, and returns the event to hand to `appendToOutbox` at the end of the
 * same transaction. The version is not touched. The row is locked by this: of two that race one fails.
 * @param from the statuses that the caller reckons with
 * @param now milliseconds since the epoch
 * @throws {AppError} `not_found`, or `conflict` when the topology has another status or the machine forbids the step
 */
export async function transition(
  trx: Trx,
  topologyId: string,
  from: readonly TopologyStatus[],
  to: TopologyStatus,
  reason: string | null,
  now: number,
): Promise<Event> {
  const at = new Date(now).toISOString();
  const allowed = from.filter((status) => mayBecome(status, to));
  const before = await lockTopology(trx, topologyId);
  if (!allowed.some((status) => status === before.status)) {
    throw new AppError('conflict', `Topology is ${before.status}; it cannot become ${to}`);
  }
  await trx.updateTable('topologies').set({ status: to, status_changed_at: at }).where('id', '=', topologyId).execute();
  await trx
    .insertInto('topology_status_events')
    .values({ id: crypto.randomUUID(), topology_id: topologyId, from_status: before.status, to_status: to, at, reason })
    .execute();
  return createEvent(topics.topologyStatus(topologyId), 'status', { state: to, reason }, undefined, now);
}
