import { Elysia, t } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { createEvent, digestOf, isJsonObject } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';

export interface IngressRouteParts {
  readonly authenticator: HeaderAuthenticator;
  readonly log: EventLog;
  readonly logger: Log;
}

const publication = t.Object({
  topic: t.String({ minLength: 1 }),
  type: t.String({ default: '' }),
  payload: t.Unknown(),
  id: t.Optional(t.String({ pattern: '^[0-9A-Za-z_-]{1,64}$' })),
});

/**
 * `POST /events`: a producer publishes an event. 202 once Redis has it. With an `id` of its own a producer may send the
 * same event again after a lost answer; it is told the first result. 409 when the id belongs to another event.
 */
export function ingressRoutes({ authenticator, log, logger }: IngressRouteParts) {
  return new Elysia({ name: 'ingress-routes' }).use(guard(authenticator, 'admin')).post(
    '/events',
    async ({ body, set }) => {
      const { topic, type, payload = {}, id } = body;
      if (!isJsonObject(payload)) throw new AppError('invalid', 'payload must be a JSON object');
      const event = createEvent(topic, type, payload, id);
      // Only where the producer has chosen the id may it stand for another event already.
      const chosen = id === undefined ? {} : { digest: digestOf(event) };
      const [published] = await log.publish([{ event, ...chosen }]).catch((error: unknown) => {
        logger.warn('an event was refused: redis does not answer', { topic: event.topic, error: describeError(error) });
        throw new AppError('unavailable', 'The event log cannot be reached; publish again with the same id');
      });
      if (published === undefined) throw new Error('nothing was published');
      const { conflict, ...place } = published;
      if (conflict) {
        throw new AppError('conflict', `The id '${event.id}' belongs to another event; give this one an id of its own`);
      }
      set.status = 202;
      return place;
    },
    { body: publication },
  );
}
