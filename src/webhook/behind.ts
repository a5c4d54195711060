import { createEvent, type Event } from '../bus/event.ts';
import { topics } from '../bus/topic.ts';
import type { Trx } from '../db/database.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { reachedText, readReached, type Standing } from './standing.ts';
import type { Amount } from './stock.ts';

/**
 * The own standing of a subscription whose backlog is full: nothing more is written down for it, the log is its buffer. It goes on from there when there is
 * room, until it stands where all others do.
 */
export interface Behind extends Standing {
  /** ISO time at which its backlog was full. */
  readonly since: string;
}

/** @returns `undefined` while it stands where all others do */
export function behindOf({ behind }: Pick<WebhookSubscriptionRow, 'behind'>): Behind | undefined {
  if (behind === null) return undefined;
  const { epoch, offset, proof, reached, since } = JSON.parse(behind);
  return { epoch, offset, proof, reached: readReached(reached), since };
}

/** As it is stored. */
export function behindText(behind: Behind): string {
  const { epoch, offset, proof, since } = behind;
  return JSON.stringify({ epoch, offset, proof, reached: reachedText(behind), since });
}

/** From here on it has a standing of its own. @returns what is told of it */
export async function fallBehind(
  trx: Trx,
  { uuid, name }: { readonly uuid: string; readonly name: string },
  at: Standing,
  stock: Amount,
  now: number,
): Promise<Event> {
  const since = new Date(now).toISOString();
  await trx
    .updateTable('webhook_subscriptions')
    .set({ behind: behindText({ ...at, since }) })
    .where('uuid', '=', uuid)
    .execute();
  const about = { uuid, name, pending: stock.events, pending_bytes: stock.bytes, log_offset: at.offset };
  return createEvent(topics.webhookBacklog(uuid), 'full', about);
}

/**
 * Moves its own standing on, if nobody else has moved or changed it meanwhile.
 * @param to `undefined`: it stands where all others do again
 * @returns whether it did
 */
export async function moveBehind(
  trx: Trx,
  row: Pick<WebhookSubscriptionRow, 'uuid' | 'behind' | 'topic_patterns' | 'missed'>,
  to: Behind | undefined,
  missed = row.missed,
): Promise<boolean> {
  const moved = await trx
    .updateTable('webhook_subscriptions')
    .set({ behind: to === undefined ? null : behindText(to), missed })
    .where('uuid', '=', row.uuid)
    .where('enabled', '=', 1)
    .where('behind', '=', row.behind)
    .where('missed', '=', row.missed)
    .where('topic_patterns', '=', row.topic_patterns)
    .returning('uuid')
    .executeTakeFirst();
  return moved !== undefined;
}

export function caughtUp({ uuid, name }: { readonly uuid: string; readonly name: string }, { since }: Behind): Event {
  return createEvent(topics.webhookBacklog(uuid), 'caught_up', { uuid, name, since });
}
