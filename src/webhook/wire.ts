import type { Db } from '../db/database.ts';
import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { nextTurn } from '../stream/slices.ts';
import { behindOf } from './behind.ts';
import { backlogOf, type DeliveryWithTopic, inspectDelivery } from './deliveries.ts';
import { breakerOf, missedOf, patternsOf, templateSourceOf } from './subscription.ts';

/** A subscription as the API shows it: DECNET's fields (contract §7.2), then ours. The secret is never among them. */
export async function subscriptionOnWire(db: Db, row: WebhookSubscriptionRow, now = Date.now()) {
  const { uuid, name, url, consecutive_failures, last_success_at, last_failure_at, last_error } = row;
  const backlog = await backlogOf(db, uuid);
  const breaker = breakerOf(row);
  const behind = behindOf(row);
  return {
    ...{ uuid, name, url, topic_patterns: patternsOf(row), enabled: row.enabled === 1 },
    ...{ consecutive_failures, last_success_at, last_failure_at, last_error },
    ...{ auto_disabled_at: row.auto_disabled_at, created_at: row.created_at, updated_at: row.updated_at },
    warnings: url.startsWith('http:') ? [INSECURE] : [],
    ...{ ordered: row.ordered === 1, concurrency: row.concurrency },
    ...{ batch_size: row.batch_size, batch_wait_ms: row.batch_wait_ms, template: templateSourceOf(row) },
    previous_secret_until: row.previous_secret_until === null ? null : isoOf(row.previous_secret_until),
    breaker: {
      state: breaker.state,
      failing_since: isoOf(breaker.failingSince),
      probe_at: isoOf(breaker.probeAt),
    },
    stats: {
      ...{ delivered: row.delivered, attempts: row.attempts, dead_total: row.dead },
      ...{ pending: backlog.pending.events, pending_bytes: backlog.pending.bytes },
      ...{ dead: backlog.dead.events, dead_bytes: backlog.dead.bytes, dead_dropped: row.dropped },
      lag_seconds: backlog.oldest === null ? 0 : Math.max(0, Math.round((now - backlog.oldest) / 100) / 10),
    },
    behind: behind === undefined ? null : { since: behind.since, log_offset: behind.offset },
    missed: missedOf(row),
  };
}

/** One after the other: counting a long backlog takes a moment of this thread. */
export async function subscriptionsOnWire(db: Db, rows: readonly WebhookSubscriptionRow[]) {
  const all = [];
  for (const row of rows) {
    all.push(await subscriptionOnWire(db, row));
    await nextTurn();
  }
  return all;
}

const INSECURE = 'insecure_url: events travel unencrypted; use https so that nobody on the way can read them';

export function deliveryOnWire(row: DeliveryWithTopic) {
  const { seq, event_id, topic, state, attempts, status, latency_ms, error } = row;
  return {
    ...{ seq, event_id, topic, state, attempts, status, latency_ms, error },
    created_at: isoOf(row.created_at),
    finished_at: isoOf(row.finished_at),
    due_at: state === 'pending' ? isoOf(row.due_at) : null,
  };
}

/** A delivery with its event and its failed attempts. @throws {AppError} `not_found` */
export async function inspectedOnWire(db: Db, subscription: string, seq: number) {
  const { delivery, attempts } = await inspectDelivery(db, subscription, seq);
  const event: unknown = JSON.parse(delivery.data);
  return {
    ...deliveryOnWire(delivery),
    event,
    failures: attempts.map(({ number, at, status, latency_ms, error, excerpt }) => ({
      ...{ number, at: isoOf(at), status, latency_ms, error },
      response_excerpt: excerpt,
    })),
  };
}

function isoOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
