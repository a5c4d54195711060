import type { Generated, Selectable } from 'kysely';
import type { Bit } from './schema.ts';

/** The tables of webhooks; times that only the machine reads are milliseconds since the epoch. */
export interface WebhookTables {
  webhook_subscriptions: WebhookSubscriptionsTable;
  webhook_events: WebhookEventsTable;
  webhook_deliveries: WebhookDeliveriesTable;
  webhook_attempts: WebhookAttemptsTable;
  webhook_dispatch: WebhookDispatchTable;
  webhook_stock: WebhookStockTable;
}

export interface WebhookSubscriptionsTable {
  uuid: string;
  name: string;
  url: string;
  /** Sealed, see webhook/secret-box.ts. */
  secret: string;
  /** Sealed; signs too until `previous_secret_until`. */
  previous_secret: string | null;
  previous_secret_until: number | null;
  /** JSON: a list of patterns. */
  topic_patterns: string;
  enabled: Bit;
  /** Rises with each change by an operator: what the dispatcher learnt before it is not written over it. */
  revision: Generated<number>;
  ordered: Bit;
  concurrency: number;
  batch_size: number;
  batch_wait_ms: number;
  /** JSON: `{"preset": name}` or `{"text": liquid}`. */
  template: string | null;
  /** JSON, see webhook/breaker.ts. */
  breaker: string;
  consecutive_failures: number;
  last_success_at: string | null;
  last_failure_at: string | null;
  last_error: string | null;
  auto_disabled_at: string | null;
  /** Events delivered, attempts made, events that became dead letters: since it was created. */
  delivered: Generated<number>;
  attempts: Generated<number>;
  dead: Generated<number>;
  /** JSON: stretches of the log that were gone before they were dispatched, the newest last. */
  missed: Generated<string>;
  /** JSON, see webhook/behind.ts: where it stands in the log when that is not where all others do. */
  behind: Generated<string | null>;
  /** Dead letters that had to go because there were too many, since it was created. */
  dropped: Generated<number>;
  created_at: string;
  updated_at: string;
}

/** What is delivered, once for all subscriptions; deleted with the last delivery that needs it. */
export interface WebhookEventsTable {
  event_id: string;
  topic: string;
  created_at: number;
  bytes: number;
  /** The event's wire data. */
  data: string;
}

export type DeliveryState = 'pending' | 'delivered' | 'dead';

/** One event for one subscription. */
export interface WebhookDeliveriesTable {
  seq: Generated<number>;
  subscription: string;
  event_id: string;
  state: DeliveryState;
  /** The seq of the first delivery of the request that it travels in; null until it has been sent for the first time. */
  batch: number | null;
  attempts: number;
  due_at: number;
  created_at: number;
  finished_at: number | null;
  status: number | null;
  latency_ms: number | null;
  error: string | null;
  /** Of its event and of what is kept of its attempts; what it counts for in `webhook_stock`. */
  bytes: Generated<number>;
}

/** What a subscription keeps of each state, always as many as there are rows: changed in the transactions that change those. */
export interface WebhookStockTable {
  subscription: string;
  state: DeliveryState;
  events: number;
  bytes: number;
}

/** What went wrong, each time. */
export interface WebhookAttemptsTable {
  delivery: number;
  number: number;
  at: number;
  status: number | null;
  latency_ms: number;
  error: string;
  excerpt: string | null;
}

export type WebhookSubscriptionRow = Selectable<WebhookSubscriptionsTable>;
export type WebhookDeliveryRow = Selectable<WebhookDeliveriesTable>;

/** Where the dispatcher stands in the log; one row, whose id is 1. */
export interface WebhookDispatchTable {
  id: number;
  epoch: string;
  log_offset: number;
  proof: string;
  /** JSON: epoch → the last offset of it that was dispatched, the newest epochs last. */
  reached: string;
}
