import { sql } from 'kysely';
import type { Db, Trx } from '../db/database.ts';
import type { Subscription } from './subscription.ts';

/** Deliveries that travel in one HTTP request, now and each time that it is tried again. */
export interface DeliveryRequest {
  /** The seq of its first delivery. */
  readonly batch: number;
  /** In order. */
  readonly deliveries: readonly { readonly seq: number; readonly eventId: string; readonly createdAt: number }[];
  /** How often it was tried. */
  readonly attempts: number;
  /** It has been sent before under this batch number. */
  readonly isBound: boolean;
  /** Of its events' data. */
  readonly bytes: number;
}

/** What is due, and when to look again if that is all. */
export interface Due {
  readonly requests: readonly DeliveryRequest[];
  /** Milliseconds since the epoch; `undefined` while nothing waits for a time. */
  readonly nextAt: number | undefined;
}

interface Waiting {
  readonly seq: number;
  readonly event_id: string;
  readonly batch: number | null;
  readonly attempts: number;
  readonly due_at: number;
  readonly created_at: number;
  readonly bytes: number;
}

export interface DueLimits {
  readonly requests: number;
  readonly bytes: number;
}

/**
 * The requests of a subscription that are due, the longest due first, or strictly in the order of the log.
 * @param taken deliveries that are under way
 * @param now milliseconds since the epoch
 */
export async function dueRequests(
  db: Db,
  subscription: Subscription,
  taken: ReadonlySet<number>,
  limits: DueLimits,
  now: number,
): Promise<Due> {
  const { uuid, isOrdered, batchSize, batchWaitMs } = subscription;
  // Whatever is under way before or after the look: what is recorded meanwhile may be seen as it was.
  const before = new Set(taken);
  const base = waiting(db, uuid).limit(taken.size + limits.requests * batchSize + 1);
  const found = isOrdered
    ? await base.orderBy('delivery.seq').execute()
    : await base.orderBy('delivery.due_at').orderBy('delivery.seq').execute();
  const free = found.filter(({ seq }) => !before.has(seq) && !taken.has(seq));
  const requests: DeliveryRequest[] = [];
  const used = new Set<number>();
  let bytes = 0;
  let nextAt: number | undefined;
  const laterAt = (at: number) => {
    nextAt = Math.min(nextAt ?? at, at);
  };
  for (const row of free) {
    if (used.has(row.seq)) continue;
    if (requests.length >= limits.requests || (bytes >= limits.bytes && requests.length > 0)) break;
    if (row.due_at > now) {
      laterAt(row.due_at);
      // The others come later still; in order, they wait for it.
      break;
    }
    const members = row.batch === null ? gather(free, used, row, batchSize) : await bound(db, uuid, row.batch);
    const isShort = row.batch === null && members.length < batchSize;
    const readyAt = row.created_at + batchWaitMs;
    if (isShort && now < readyAt) {
      laterAt(readyAt);
      break;
    }
    for (const { seq } of members) used.add(seq);
    const request = toRequest(row, members);
    bytes += request.bytes;
    requests.push(request);
  }
  return { requests, nextAt };
}

/** The data of a request's events, in order. Deliveries whose event has gone are left out. */
export async function dataOf(db: Db, request: DeliveryRequest): Promise<Map<string, string>> {
  const ids = request.deliveries.map(({ eventId }) => eventId);
  const rows = await db
    .selectFrom('webhook_events')
    .select(['event_id', 'data'])
    .where('event_id', 'in', ids)
    .execute();
  return new Map(rows.map(({ event_id, data }) => [event_id, data]));
}

/** Keeps together what is about to be sent together: whatever happens, the same events come under the same id again. */
export async function bindBatch(db: Db | Trx, { batch, deliveries }: DeliveryRequest): Promise<void> {
  const seqs = deliveries.map(({ seq }) => seq);
  await db.updateTable('webhook_deliveries').set({ batch }).where('seq', 'in', seqs).execute();
}

function waiting(db: Db, uuid: string) {
  return db
    .selectFrom('webhook_deliveries as delivery')
    .innerJoin('webhook_events as event', 'event.event_id', 'delivery.event_id')
    .select(['delivery.seq', 'delivery.event_id', 'delivery.batch', 'delivery.attempts', 'delivery.due_at'])
    .select(['delivery.created_at', 'event.bytes'])
    .where('delivery.subscription', '=', uuid)
    .where('delivery.state', '=', sql.lit('pending'));
}

/** Those that have not been sent, from this one on. */
function gather(free: readonly Waiting[], used: ReadonlySet<number>, from: Waiting, batchSize: number): Waiting[] {
  if (batchSize === 1) return [from];
  const fresh = free.filter((row) => row.batch === null && row.due_at <= from.due_at && !used.has(row.seq));
  const others = free.filter((row) => row.batch === null && row.due_at > from.due_at && !used.has(row.seq));
  return [...fresh, ...others].slice(0, batchSize);
}

async function bound(db: Db, uuid: string, batch: number): Promise<Waiting[]> {
  return waiting(db, uuid).where('delivery.batch', '=', batch).orderBy('delivery.seq').execute();
}

function toRequest({ seq, batch, attempts }: Waiting, members: readonly Waiting[]): DeliveryRequest {
  return {
    batch: batch ?? seq,
    deliveries: members.map((row) => ({ seq: row.seq, eventId: row.event_id, createdAt: row.created_at })),
    attempts,
    isBound: batch !== null,
    bytes: members.reduce((sum, row) => sum + row.bytes, 0),
  };
}
