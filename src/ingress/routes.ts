import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { EventLog } from '../bus/event-log.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { OWN_ID, publicationOf, publishAll } from './publications.ts';

export interface IngressRouteParts {
  readonly authenticator: HeaderAuthenticator;
  readonly log: EventLog;
  readonly logger: Log;
}

const publication = t.Object({
  topic: t.String({ minLength: 1 }),
  type: t.String({ default: '' }),
  payload: t.Unknown(),
  id: t.Optional(t.String({ pattern: OWN_ID })),
});

/**
 * `POST /events`: a producer publishes an event. 202 once Redis has it. With an `id` of its own a producer may send the
 * same event again after a lost answer; it is told the first result. 409 when the id belongs to another event.
 */
export function ingressRoutes({ authenticator, log, logger }: IngressRouteParts) {
  return new Elysia({ name: 'ingress-routes' }).use(guard(authenticator, 'publish')).post(
    '/events',
    async ({ body, principal, set }) => {
      const [answer] = await publishAll(log, [publicationOf(body)], principal, logger);
      if (answer === undefined) throw new Error('nothing was published');
      if (answer instanceof AppError) throw answer;
      set.status = 202;
      return answer;
    },
    { body: publication },
  );
}
