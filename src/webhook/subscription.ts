import type { WebhookSubscriptionRow } from '../db/webhook-tables.ts';
import { type Breaker, CLOSED, takenOver } from './breaker.ts';
import { PRESETS, type Preset } from './presets.ts';

/** A template as it is stored: one of the presets, or a text. */
export type TemplateSource = { readonly preset: Preset } | { readonly text: string };

/** A stretch of the log that was gone before it was dispatched: what a subscription may have missed. */
export interface Missed {
  /** `trimmed`: these offsets were removed; `epoch`: the log was replaced by another after `from`. */
  readonly reason: 'trimmed' | 'epoch';
  readonly from: number;
  readonly to: number | null;
  /** ISO time at which it was noticed. */
  readonly at: string;
}

/** A subscription as the dispatcher and the worker use it. */
export interface Subscription {
  readonly uuid: string;
  readonly url: string;
  readonly revision: number;
  readonly isOrdered: boolean;
  /** Requests under way at once; one where the order counts. */
  readonly concurrency: number;
  /** Events of one request. */
  readonly batchSize: number;
  /** Milliseconds that an event may wait for others to travel with. */
  readonly batchWaitMs: number;
  /** Liquid that writes JSON; undefined: DECNET's body. */
  readonly template: string | undefined;
  readonly breaker: Breaker;
  readonly sealed: Pick<WebhookSubscriptionRow, 'secret' | 'previous_secret' | 'previous_secret_until'>;
}

export function patternsOf({ topic_patterns }: Pick<WebhookSubscriptionRow, 'topic_patterns'>): string[] {
  return JSON.parse(topic_patterns);
}

export function missedOf({ missed }: Pick<WebhookSubscriptionRow, 'missed'>): Missed[] {
  return JSON.parse(missed);
}

export function templateSourceOf({ template }: Pick<WebhookSubscriptionRow, 'template'>): TemplateSource | null {
  return template === null ? null : JSON.parse(template);
}

/** The text of a template. */
export function templateText(source: TemplateSource): string {
  return 'preset' in source ? PRESETS[source.preset] : source.text;
}

export function breakerOf({ breaker }: Pick<WebhookSubscriptionRow, 'breaker'>): Breaker {
  return { ...CLOSED, ...JSON.parse(breaker) };
}

export function toSubscription(row: WebhookSubscriptionRow): Subscription {
  const { uuid, url, revision, secret, previous_secret, previous_secret_until } = row;
  const source = templateSourceOf(row);
  return {
    ...{ uuid, url, revision },
    isOrdered: row.ordered === 1,
    concurrency: row.ordered === 1 ? 1 : row.concurrency,
    batchSize: row.batch_size,
    batchWaitMs: row.batch_wait_ms,
    template: source === null ? undefined : templateText(source),
    breaker: takenOver(breakerOf(row)),
    sealed: { secret, previous_secret, previous_secret_until },
  };
}
