import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { isJsonObject } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import { AppError } from '../errors.ts';
import { errorFields } from '../http/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { eventsOf, publicationOf, publicationOrError, publishAll, publishGood } from './publications.ts';
import { ingressOperations } from './schemas.ts';

export interface IngressRouteParts {
  readonly authenticator: HeaderAuthenticator;
  readonly eventLog: Pick<EventLog, 'publish'>;
  readonly logger: Log;
}

/**
 * `POST /events`: a producer publishes an event, or a list of them. 202 once Redis has them all. With an `id` of its own a
 * producer may send the same event again after a lost answer; it is told the first result. 409 when the id belongs to
 * another event. A list is published in its order and answered by `results`, one for each; 207 when some were refused.
 *
 * The body is checked by hand, once: Elysia makes an empty object of a list, and copies what it has checked.
 */
export function ingressRoutes({ authenticator, eventLog, logger }: IngressRouteParts) {
  return new Elysia({ name: 'ingress-routes' }).use(guard(authenticator, 'publish')).post(
    '/events',
    async ({ body, principal, set }) => {
      if (!Array.isArray(body)) {
        assertComplete(body);
        const [answer] = await publishAll(eventLog, [publicationOf(body)], principal, logger);
        if (answer === undefined) throw new Error('nothing was published');
        if (answer instanceof AppError) throw answer;
        set.status = 202;
        return answer;
      }
      const checked = eventsOf(body).map(publicationOrError);
      const answers = await publishGood(eventLog, checked, principal, logger);
      set.status = answers.some((answer) => answer instanceof AppError) ? 207 : 202;
      return {
        results: answers.map((answer) => (answer instanceof AppError ? { error: errorFields(answer) } : answer)),
      };
    },
    ingressOperations.publish,
  );
}

/**
 * Contract §5.3 rule 3: what is missing or of another kind is a 400, and what has a value that cannot be used a 422.
 * @throws {AppError} `bad_request`
 */
function assertComplete(body: unknown): void {
  if (body === undefined) throw new AppError('bad_request', 'A JSON body is required: an event, or a list of them');
  if (!isJsonObject(body)) return; // For {@link publicationOf} to refuse.
  const { topic, type = '', payload } = body;
  if (typeof topic !== 'string' || topic === '') throw new AppError('bad_request', 'topic must be a string');
  if (typeof type !== 'string') throw new AppError('bad_request', 'type must be a string');
  if (payload === undefined) throw new AppError('bad_request', 'payload is required: a JSON object');
}
