import { createEvent, digestOf, isJsonObject } from '../bus/event.ts';
import type { EventLog, Publication, Published } from '../bus/event-log.ts';
import { AppError, describeError } from '../errors.ts';
import { refusalOf } from '../http/errors.ts';
import type { Log } from '../telemetry/log.ts';

/** What a producer may choose for itself. */
const OWN_ID = /^[0-9A-Za-z_-]{1,64}$/;
/** Events that are taken at once. */
export const MOST_EVENTS = 1000;

/** Where an event went, or why it did not. */
export type Answer = Omit<Published, 'conflict'> | AppError;

/**
 * An event as producers send it: `{topic, type?, payload?, id?}`.
 * @throws {AppError} `invalid`; {@link createEvent} says what else keeps one from being published
 */
export function publicationOf(body: unknown): Publication {
  if (!isJsonObject(body)) throw new AppError('invalid', 'An event must be a JSON object');
  const { topic, type = '', payload = {}, id } = body;
  if (typeof topic !== 'string') throw new AppError('invalid', 'topic must be a string');
  if (typeof type !== 'string') throw new AppError('invalid', 'type must be a string');
  if (!isJsonObject(payload)) throw new AppError('invalid', 'payload must be a JSON object');
  if (id === undefined) return { event: createEvent(topic, type, payload), once: true };
  if (typeof id !== 'string' || !OWN_ID.test(id)) {
    throw new AppError('invalid', 'id must have 1 to 64 characters of A-Z, a-z, 0-9, _ and -');
  }
  const event = createEvent(topic, type, payload, id);
  // Only where the producer has chosen the id may it stand for another event already.
  return { event, digest: digestOf(event) };
}

/**
 * A list of events, not looked at yet.
 * @throws {AppError} `invalid`
 */
export function eventsOf(list: unknown): readonly unknown[] {
  if (Array.isArray(list) && list.length > 0 && list.length <= MOST_EVENTS) return list;
  throw new AppError('invalid', `Give 1 to ${MOST_EVENTS} events at once`);
}

/** An event, or why it is none that can be published. */
export function publicationOrError(event: unknown): Publication | AppError {
  try {
    return publicationOf(event);
  } catch (error) {
    const refused = refusalOf(error);
    if (refused === undefined) throw error;
    return refused;
  }
}

/**
 * Publishes those that can be, in order.
 * @returns an answer for each
 * @throws {AppError} as {@link publishAll}
 */
export async function publishGood(
  log: Pick<EventLog, 'publish'>,
  checked: readonly (Publication | AppError)[],
  logger: Log,
): Promise<Answer[]> {
  const good = checked.filter((each): each is Publication => !(each instanceof AppError));
  const answers = await publishAll(log, good, logger);
  let next = 0;
  return checked.map((each) => {
    if (each instanceof AppError) return each;
    const answer = answers[next];
    next += 1;
    if (answer === undefined) throw new Error('an event without an answer');
    return answer;
  });
}

/**
 * Publishes in order.
 * @returns an answer for each, once Redis has them
 * @throws {AppError} `unavailable` when Redis does not answer: some of the first may have been published, none after them
 */
export async function publishAll(
  log: Pick<EventLog, 'publish'>,
  publications: readonly Publication[],
  logger: Log,
): Promise<Answer[]> {
  const published = await log.publish(publications).catch((error: unknown) => {
    const [first] = publications;
    const fields = { topic: first?.event.topic, count: publications.length, error: describeError(error) };
    logger.warn('events were refused: redis does not answer', fields);
    throw new AppError('unavailable', 'The event log cannot be reached; publish again with the same id');
  });
  return published.map(({ conflict, ...place }) =>
    conflict
      ? new AppError('conflict', `The id '${place.id}' belongs to another event; give this one an id of its own`)
      : place,
  );
}
