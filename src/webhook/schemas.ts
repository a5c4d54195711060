import { t } from 'elysia';
import { BODY_REFUSALS, operation } from '../http/operation.ts';
import { integer, json, message, oneOf, orNull, ref, time } from '../http/schemas.ts';

const STATES = ['pending', 'delivered', 'dead'] as const;
const count = (description: string) => t.Unsafe<number>({ ...integer, description });

const webhook = {
  uuid: t.String(),
  name: t.String(),
  url: t.String(),
  topic_patterns: t.Array(t.String()),
  enabled: t.Boolean(),
  consecutive_failures: integer,
  last_success_at: orNull(time),
  last_failure_at: orNull(time),
  last_error: orNull(t.String()),
  auto_disabled_at: orNull(time),
  created_at: time,
  updated_at: time,
  warnings: t.Array(t.String()),
  ordered: t.Boolean({ description: 'Strictly in the order of the log, one request at a time' }),
  concurrency: count('Requests under way at once'),
  batch_size: count('Events of one request; more than one makes every body a list'),
  batch_wait_ms: count('How long an event waits for others to travel with'),
  template: orNull(json),
  previous_secret_until: orNull(time),
  breaker: t.Object({
    state: oneOf(['closed', 'open', 'half_open']),
    failing_since: orNull(time),
    probe_at: orNull(time),
  }),
  stats: t.Object({
    delivered: integer,
    attempts: integer,
    dead_total: integer,
    pending: count('Waiting now'),
    pending_bytes: count('What their events and attempts take'),
    dead: count('Dead letters now'),
    dead_bytes: integer,
    dead_dropped: count('Dead letters that had to go, the oldest first, because there were too many'),
    lag_seconds: t.Number({ description: 'How long the oldest one has been waiting' }),
  }),
  behind: orNull(
    t.Object(
      { since: time, log_offset: count('What comes after it has not been written down for this webhook') },
      { description: 'Its backlog is full: what comes waits in the log' },
    ),
  ),
  missed: t.Array(t.Object({ reason: oneOf(['trimmed', 'epoch']), from: integer, to: orNull(integer), at: time }), {
    description: 'Stretches of the log that were gone before they were dispatched',
  }),
};

const delivery = {
  seq: integer,
  event_id: t.String(),
  topic: t.String(),
  state: oneOf(STATES),
  attempts: integer,
  status: orNull(count('Of the newest answer')),
  latency_ms: orNull(integer),
  error: orNull(t.String()),
  created_at: time,
  finished_at: orNull(time),
  due_at: orNull(time),
};

const failure = t.Object({
  number: integer,
  at: time,
  status: orNull(integer),
  latency_ms: integer,
  error: t.String(),
  response_excerpt: orNull(t.String()),
});

export const webhookModels = {
  Webhook: t.Object(webhook),
  WebhookWithSecret: t.Object({ ...webhook, secret: t.String({ description: 'Seen this once' }) }),
  WebhookDelivery: t.Object(delivery),
  InspectedWebhookDelivery: t.Object({ ...delivery, event: json, failures: t.Array(failure) }),
};

const admin = { tag: 'webhooks', access: 'admin' } as const;

export const webhookOperations = {
  list: operation('listWebhooks', {
    ...admin,
    summary: 'List webhooks',
    description: 'Without the last slash: 307 to the path with it.',
    answers: { 200: t.Array(ref('Webhook')), 307: { note: 'To the path with a slash' } },
  }),
  create: operation('createWebhook', {
    ...admin,
    summary: 'Create a webhook and show its secret, once',
    answers: { 201: ref('WebhookWithSecret'), 307: { note: 'To the path with a slash' } },
    refuses: [409, 429, ...BODY_REFUSALS],
  }),
  read: operation('getWebhook', {
    ...admin,
    summary: 'Read a webhook',
    answers: { 200: ref('Webhook') },
    refuses: [404],
  }),
  update: operation('changeWebhook', {
    ...admin,
    summary: 'Change a webhook',
    description: 'What is null is left as it is, but for the template, which null takes away.',
    answers: { 200: ref('Webhook') },
    refuses: [404, 409, ...BODY_REFUSALS],
  }),
  remove: operation('deleteWebhook', {
    ...admin,
    summary: 'Delete a webhook, with all that waits for it',
    answers: { 200: message },
    refuses: [404],
  }),
  rotate: operation('rotateWebhookSecret', {
    ...admin,
    summary: 'Give a webhook another secret; both sign for a while',
    answers: { 200: ref('WebhookWithSecret') },
    refuses: [404, ...BODY_REFUSALS],
  }),
  test: operation('testWebhook', {
    ...admin,
    summary: 'Send a synthetic event, once',
    answers: { 200: t.Object({ delivered: t.Boolean(), status_code: orNull(integer), error: orNull(t.String()) }) },
    refuses: [404],
  }),
  preview: operation('previewWebhook', {
    ...admin,
    summary: 'See what would be sent of an event',
    answers: { 200: t.Object({ event_id: t.String(), topic: t.String(), body: json }) },
    refuses: [404, ...BODY_REFUSALS],
  }),
  reencrypt: operation('reencryptWebhookSecrets', {
    ...admin,
    summary: 'Seal all secrets with the first of the configured keys',
    answers: {
      200: t.Object({
        reencrypted: integer,
        unreadable: t.Array(t.String(), { description: 'Webhooks whose secrets no configured key opens' }),
      }),
    },
  }),
  deliveries: operation('listWebhookDeliveries', {
    ...admin,
    summary: 'List deliveries, the newest first',
    answers: { 200: t.Object({ items: t.Array(ref('WebhookDelivery')) }) },
    refuses: [404, 422],
  }),
  delivery: operation('getWebhookDelivery', {
    ...admin,
    summary: 'Read a delivery with its event and what went wrong',
    answers: { 200: ref('InspectedWebhookDelivery') },
    refuses: [404, 422],
  }),
  redeliver: operation('redeliverWebhookDeliveries', {
    ...admin,
    summary: 'Give dead letters another turn',
    answers: { 200: t.Object({ redelivered: integer }) },
    refuses: [404, ...BODY_REFUSALS],
  }),
  drop: operation('dropWebhookDeliveries', {
    ...admin,
    summary: 'Give dead letters up',
    answers: { 200: t.Object({ dropped: integer }) },
    refuses: [404, ...BODY_REFUSALS],
  }),
};
