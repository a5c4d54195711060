import { mayUse, type Subject } from '../auth/rights.ts';
import { createEvent, digestOf, isJsonObject } from '../bus/event.ts';
import type { EventLog, Publication, Published } from '../bus/event-log.ts';
import { AppError, describeError } from '../errors.ts';
import { refusalOf } from '../http/errors.ts';
import type { Log } from '../telemetry/log.ts';

/** What a producer may choose for itself. */
export const OWN_ID = /^[0-9A-Za-z_-]{1,64}$/;
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
  eventLog: Pick<EventLog, 'publish'>,
  checked: readonly (Publication | AppError)[],
  publisher: Subject,
  logger: Log,
): Promise<Answer[]> {
  const good = checked.filter((each): each is Publication => !(each instanceof AppError));
  const answers = await publishAll(eventLog, good, publisher, logger);
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
 * @param publisher for whom: what it may not publish is answered by `forbidden`, and the others are published
 * @returns an answer for each, once Redis has them
 * @throws {AppError} `unavailable` when Redis does not answer: some of the first may have been published, none after them
 */
export async function publishAll(
  eventLog: Pick<EventLog, 'publish'>,
  publications: readonly Publication[],
  publisher: Subject,
  logger: Log,
): Promise<Answer[]> {
  const isAllowed = mayUse(publisher, 'publish');
  const allowed = publications.filter(({ event }) => isAllowed(event.topic));
  const published = await eventLog.publish(allowed).catch((error: unknown) => {
    const [first] = allowed;
    const fields = { topic: first?.event.topic, count: allowed.length, error: describeError(error) };
    logger.warn('events were refused: redis does not answer', fields);
    throw new AppError('unavailable', 'The event log cannot be reached; publish again with the same id');
  });
  const answers = published.map(answerOf);
  if (allowed.length === publications.length) return answers;
  const rest = answers.values();
  return publications.map(({ event }) =>
    isAllowed(event.topic) ? (rest.next().value ?? forbidden(event.topic)) : forbidden(event.topic),
  );
}

function answerOf({ conflict, ...place }: Published): Answer {
  return conflict
    ? new AppError('conflict', `The id '${place.id}' belongs to another event; give this one an id of its own`)
    : place;
}

function forbidden(topic: string): AppError {
  return new AppError('forbidden', `Insufficient permissions: you may not publish '${topic}'; see GET /api/v1/auth/me`);
}
