import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import type { Log } from '../telemetry/log.ts';
import { dropDead, listDeliveries, redeliver } from './deliveries.ts';
import { webhookOperations } from './schemas.ts';
import type { Subscriptions } from './subscriptions.ts';
import { deliveryOnWire, inspectedOnWire } from './wire.ts';

export interface DeliveryRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly subscriptions: Pick<Subscriptions, 'get'>;
  readonly logger: Log;
  /** There may be something to deliver. */
  readonly wake: () => void;
}

const seq = t.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const page = t.Object({
  state: t.Optional(t.Union([t.Literal('pending'), t.Literal('delivered'), t.Literal('dead')])),
  before: t.Optional(seq),
  limit: t.Integer({ minimum: 1, maximum: 500, default: 50 }),
});
/** Some, a range, or all: exactly one of these. */
const which = t.Union([
  t.Object({ seqs: t.Array(seq, { minItems: 1, maxItems: 500 }) }),
  t.Object({ from: seq, to: seq }),
  t.Object({ all: t.Literal(true) }),
]);
const one = { params: t.Object({ uuid: t.String(), seq }) };

/** What is delivered and what was not: to look at, to send again, to give up. */
export function deliveryRoutes({ db, authenticator, subscriptions, logger, wake }: DeliveryRouteParts) {
  const uuidOf = async (uuid: string) => (await subscriptions.get(uuid)).uuid;
  return new Elysia({ name: 'webhook-delivery-routes' })
    .use(guard(authenticator, 'admin'))
    .get(
      '/:uuid/deliveries',
      async ({ params, query }) => {
        const rows = await listDeliveries(db, await uuidOf(params.uuid), query);
        return { items: rows.map(deliveryOnWire) };
      },
      { query: page, ...webhookOperations.deliveries },
    )
    .get('/:uuid/deliveries/:seq', async ({ params }) => inspectedOnWire(db, await uuidOf(params.uuid), params.seq), {
      ...one,
      ...webhookOperations.delivery,
    })
    .post(
      '/:uuid/deliveries/redeliver',
      async ({ params, body, principal }) => {
        const webhook = await uuidOf(params.uuid);
        const redelivered = await redeliver(db, webhook, body);
        logger.info('dead letters are delivered again', { webhook, redelivered, by: principal.userUuid });
        wake();
        return { redelivered };
      },
      { body: which, ...webhookOperations.redeliver },
    )
    .post(
      '/:uuid/deliveries/drop',
      async ({ params, body, principal }) => {
        const webhook = await uuidOf(params.uuid);
        const dropped = await dropDead(db, webhook, body);
        logger.warn('dead letters are given up', { webhook, dropped, by: principal.userUuid });
        return { dropped };
      },
      { body: which, ...webhookOperations.drop },
    );
}
