import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { PeerAddress } from '../auth/peer-address.ts';
import type { RateLimits } from '../auth/rate-limit.ts';
import { isJsonObject } from '../bus/event.ts';
import type { Db } from '../db/database.ts';
import { AppError } from '../errors.ts';
import { redirectToSlash } from '../http/redirect-to-slash.ts';
import type { Log } from '../telemetry/log.ts';
import { deliveryRoutes } from './delivery-routes.ts';
import { eventById } from './event-by-id.ts';
import type { Renderer } from './renderer.ts';
import { webhookOperations } from './schemas.ts';
import { bodyOf, type Sender } from './sender.ts';
import { type TemplateSource, templateSourceOf, templateText, toSubscription } from './subscription.ts';
import { EXAMPLE, type Subscriptions } from './subscriptions.ts';
import { TemplateError } from './template-error.ts';
import { subscriptionOnWire, subscriptionsOnWire } from './wire.ts';

export interface WebhookRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly subscriptions: Subscriptions;
  readonly sender: Pick<Sender, 'send'>;
  readonly renderer: Pick<Renderer, 'render'>;
  readonly limits: Pick<RateLimits, 'createWebhook'>;
  readonly peerAddress: PeerAddress;
  readonly logger: Log;
  /** There may be something to deliver. */
  readonly wake: () => void;
}

// What is null is not given (contract §7.2), so that what is given is checked as itself.
const withoutNulls = ({ body }: { body: unknown }) => {
  if (!isJsonObject(body)) return;
  const fields = body as Record<string, unknown>;
  for (const name of Object.keys(fields)) if (fields[name] === null && name !== 'template') delete fields[name];
};

const simpleEvents = t.Array(
  t.Union([t.Literal('AttackerDetail'), t.Literal('DeckyStatus'), t.Literal('SystemStatus')]),
);
const template = t.Union([
  t.Object({ preset: t.Union([t.Literal('ecs'), t.Literal('ocsf'), t.Literal('slack'), t.Literal('thehive')]) }),
  t.Object({ text: t.String({ minLength: 1 }) }),
]);
const name = t.String({ minLength: 1, maxLength: 64 });
const url = t.String({ maxLength: 2083 });
const secret = t.String({ minLength: 16, maxLength: 256 });
const settings = {
  secret: t.Optional(secret),
  simple_events: t.Optional(simpleEvents),
  topic_patterns: t.Optional(t.Array(t.String(), { maxItems: 100 })),
  enabled: t.Optional(t.Boolean()),
  ordered: t.Optional(t.Boolean()),
  concurrency: t.Optional(t.Integer({ minimum: 1, maximum: 32 })),
  batch_size: t.Optional(t.Integer({ minimum: 1, maximum: 100 })),
  batch_wait_ms: t.Optional(t.Integer({ minimum: 0, maximum: 60_000 })),
  template: t.Optional(t.Union([template, t.Null()])),
};
const grace = t.Integer({ minimum: 0, maximum: 30 * 86_400 });
const GRACE_SECONDS = 86_400;

/** Contract §7.2, and what DECNET deferred. The caller mounts it under `/api/v1`. */
export function webhookRoutes(parts: WebhookRouteParts) {
  const { db, authenticator, subscriptions, limits, peerAddress, logger } = parts;
  return new Elysia({ name: 'webhook-routes', prefix: '/webhooks' })
    .use(guard(authenticator, 'admin'))
    .get('/', async () => subscriptionsOnWire(db, await subscriptions.list()), {
      beforeHandle: redirectToSlash,
      ...webhookOperations.list,
    })
    .post(
      '/',
      async ({ body, principal, set, request, server }) => {
        await limits.createWebhook(peerAddress(request, server));
        const made = await subscriptions.create(body);
        logger.info('webhook created', { webhook: made.row.uuid, by: principal.userUuid });
        parts.wake();
        set.status = 201;
        return { ...(await subscriptionOnWire(db, made.row)), secret: made.secret };
      },
      {
        body: t.Object({ name, url, ...settings }),
        transform: withoutNulls,
        beforeHandle: redirectToSlash,
        ...webhookOperations.create,
      },
    )
    .post(
      '/reencrypt',
      async ({ principal }) => {
        const done = await subscriptions.reencrypt();
        logger.info('secrets of webhooks sealed anew', { count: done.reencrypted, by: principal.userUuid });
        parts.wake();
        return done;
      },
      webhookOperations.reencrypt,
    )
    .get(
      '/:uuid',
      async ({ params }) => subscriptionOnWire(db, await subscriptions.get(params.uuid)),
      webhookOperations.read,
    )
    .patch(
      '/:uuid',
      async ({ params, body, principal }) => {
        const row = await subscriptions.update(params.uuid, body ?? {});
        logger.info('webhook changed', { webhook: row.uuid, by: principal.userUuid });
        parts.wake();
        return subscriptionOnWire(db, row);
      },
      {
        body: t.Optional(t.Object({ name: t.Optional(name), url: t.Optional(url), ...settings })),
        transform: withoutNulls,
        ...webhookOperations.update,
      },
    )
    .delete(
      '/:uuid',
      async ({ params, principal }) => {
        await subscriptions.delete(params.uuid);
        logger.info('webhook deleted', { webhook: params.uuid, by: principal.userUuid });
        parts.wake();
        return { message: 'Webhook deleted' };
      },
      webhookOperations.remove,
    )
    .post(
      '/:uuid/rotate-secret',
      async ({ params, body, principal }) => {
        const { row, secret: fresh } = await subscriptions.rotateSecret(
          params.uuid,
          body?.secret,
          body?.grace_seconds ?? GRACE_SECONDS,
        );
        logger.info('secret of a webhook rotated', { webhook: row.uuid, by: principal.userUuid });
        parts.wake();
        return { ...(await subscriptionOnWire(db, row)), secret: fresh };
      },
      {
        body: t.Optional(t.Object({ secret: t.Optional(secret), grace_seconds: t.Optional(grace) })),
        transform: withoutNulls,
        ...webhookOperations.rotate,
      },
    )
    .post(
      '/:uuid/test',
      async ({ params, principal }) => testPing(parts, params.uuid, principal.username),
      webhookOperations.test,
    )
    .post('/:uuid/preview', async ({ params, body }) => preview(parts, params.uuid, body ?? {}), {
      transform: withoutNulls,
      body: t.Optional(
        t.Object({ event_id: t.Optional(t.String()), template: t.Optional(t.Union([template, t.Null()])) }),
      ),
      ...webhookOperations.preview,
    })
    .use(deliveryRoutes(parts));
}

/** One attempt with an event of our own, which counts neither for nor against the receiver (contract §7.3). */
async function testPing({ subscriptions, sender }: WebhookRouteParts, uuid: string, username: string) {
  const subscription = toSubscription(await subscriptions.get(uuid));
  const payload = { message: 'Synthetic test event from DECNET', triggered_by: username };
  const now = new Date();
  const event = { id: crypto.randomUUID(), topic: 'test.ping', type: 'test', ts: now.getTime() / 1000, payload };
  const { outcome, status } = await sender.send(subscription, [event], now);
  const isDelivered = outcome.kind === 'delivered';
  return { delivered: isDelivered, status_code: status, error: isDelivered ? null : outcome.error };
}

/** What would be sent of an event that was delivered or is waiting, or of an example. */
async function preview(
  { db, subscriptions, renderer }: WebhookRouteParts,
  uuid: string,
  wanted: { event_id?: string | null; template?: TemplateSource | null },
) {
  const row = await subscriptions.get(uuid);
  const event = wanted.event_id ? await eventById(db, wanted.event_id) : EXAMPLE;
  const source = wanted.template ?? templateSourceOf(row);
  try {
    const text = source === null ? undefined : templateText(source);
    const { body } = await bodyOf(renderer, { template: text, batchSize: row.batch_size }, [event]);
    return { event_id: event.id, topic: event.topic, body: JSON.parse(Buffer.from(body).toString()) as unknown };
  } catch (error) {
    throw error instanceof TemplateError ? new AppError('invalid', error.message) : error;
  }
}
