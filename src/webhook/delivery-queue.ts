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
  /** The data of its events by their ids, where it was read with the request: see {@link dataOf}. */
  readonly data?: ReadonlyMap<string, string>;
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
  /** Rows that are looked at, beside those that are under way; one request's at least. */
  readonly rows: number;
  /** Of all requests together; one that is larger is answered alone, without its data. */
  readonly bytes: number;
}

/** What several events of one request may have together; one that is larger travels alone. */
const BATCH_BYTES = 1024 * 1024;

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
  const rows = Math.max(batchSize, Math.min(limits.rows, limits.requests * batchSize));
  const base = waiting(db, uuid).limit(taken.size + rows + 1);
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
    if (requests.length >= limits.requests) break;
    if (row.due_at > now) {
      laterAt(row.due_at);
      // The others come later still; in order, they wait for it.
      break;
    }
    const { members, isFull } =
      row.batch === null
        ? gather(free, used, row, subscription)
        : { members: await bound(db, uuid, row.batch), isFull: true };
    const readyAt = row.created_at + batchWaitMs;
    if (!isFull && now < readyAt) {
      laterAt(readyAt);
      break;
    }
    // Somebody has ended it between the two looks.
    if (members.length === 0) continue;
    for (const { seq } of members) used.add(seq);
    const request = toRequest(row, members);
    if (requests.length > 0 && bytes + request.bytes > limits.bytes) break;
    bytes += request.bytes;
    requests.push(request);
  }
  if (bytes > limits.bytes) return { requests, nextAt };
  const data = await dataOfAll(db, requests);
  return { requests: requests.map((request) => ({ ...request, data })), nextAt };
}

/** The data of a request's events. Deliveries whose event has gone are left out. */
export async function dataOf(db: Db, request: DeliveryRequest): Promise<ReadonlyMap<string, string>> {
  return request.data ?? dataOfAll(db, [request]);
}

async function dataOfAll(db: Db, requests: readonly DeliveryRequest[]): Promise<ReadonlyMap<string, string>> {
  const ids = requests.flatMap(({ deliveries }) => deliveries.map(({ eventId }) => eventId));
  if (ids.length === 0) return new Map();
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
    .select(['delivery.seq', 'delivery.event_id', 'delivery.batch', 'delivery.attempts', 'delivery.due_at'])
    .select(['delivery.created_at', 'delivery.bytes'])
    .where('delivery.subscription', '=', uuid)
    .where('delivery.state', '=', sql.lit('pending'));
}

/** Those that have not been sent, from this one on, as many as may travel together. */
function gather(
  free: readonly Waiting[],
  used: ReadonlySet<number>,
  from: Waiting,
  { batchSize, isOrdered }: Pick<Subscription, 'batchSize' | 'isOrdered'>,
) {
  const members: Waiting[] = [];
  let bytes = 0;
  for (const row of free.slice(free.indexOf(from))) {
    if (used.has(row.seq)) continue;
    // What was sent before comes again as it was; in order, nothing goes past it.
    if (row.batch !== null && isOrdered) return { members, isFull: true };
    if (row.batch !== null) continue;
    bytes += row.bytes;
    if (members.length > 0 && bytes > BATCH_BYTES) return { members, isFull: true };
    members.push(row);
    if (members.length === batchSize) return { members, isFull: true };
  }
  return { members, isFull: false };
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
