import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { countSetAside, discardSetAside, listSetAside, putBack } from '../bus/set-aside.ts';
import type { Db } from '../db/database.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { outboxOperations } from './schemas.ts';

export interface OutboxRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  /** Called after each commit that wrote to the outbox: wakes the relay. */
  readonly onCommitted: () => void;
  readonly logger: Log;
}

const page = t.Object({
  limit: t.Integer({ minimum: 1, maximum: 500, default: 50 }),
  offset: t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 }),
});

/** Events that were committed and could not be published: to look at, to publish after all, or to give up. */
export function outboxRoutes({ db, authenticator, onCommitted, logger }: OutboxRouteParts) {
  return new Elysia({ name: 'outbox-routes', prefix: '/outbox/set-aside' })
    .use(guard(authenticator, 'admin'))
    .get(
      '/',
      async ({ query: { limit, offset } }) => {
        const data = await listSetAside(db, { limit, offset });
        return { total: await countSetAside(db), limit, offset, data: data.map(onWire) };
      },
      { query: page, ...outboxOperations.list },
    )
    .post(
      '/:id/retry',
      async ({ params, principal, set }) => {
        const eventId = found(await putBack(db, storable(params.id)));
        onCommitted();
        logger.info('an event that was set aside is published again', { event: eventId, by: principal.userUuid });
        set.status = 202;
        return { event_id: eventId };
      },
      outboxOperations.retry,
    )
    .delete(
      '/:id',
      async ({ params, principal }) => {
        const isDiscarded = await discardSetAside(db, storable(params.id));
        if (!isDiscarded) throw notFound();
        logger.warn('an event that was set aside is given up', { event: params.id, by: principal.userUuid });
        return new Response(null, { status: 204 });
      },
      outboxOperations.discard,
    );
}

function onWire({ substituted, ...row }: Awaited<ReturnType<typeof listSetAside>>[number]) {
  return { ...row, substituted: substituted === 1 };
}

/** PostgreSQL's text holds no NUL, and a path that cannot be decoded comes as null. */
function storable(id: string | null): string {
  if (id === null || id.includes('\0')) throw notFound();
  return id;
}

function found(id: string | undefined): string {
  if (id === undefined) throw notFound();
  return id;
}

const notFound = () => new AppError('not_found', 'No event with this id is set aside');
