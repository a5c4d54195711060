import { bearerToken } from '../auth/authenticator.ts';
import { isJsonObject, type JsonObject } from '../bus/event.ts';
import { AppError } from '../errors.ts';
import { parseJsonMessage } from '../http/json-body.ts';
import { type Answer, eventsOf } from '../ingress/publications.ts';
import { errorFields } from './ws-codes.ts';

/** Characters of the names that clients give. */
const MOST_NAME = 64;

/** Whether who opens a socket has said who it is. */
export function hasCredentials(request: Request): boolean {
  if (bearerToken(request.headers.get('authorization')) !== undefined) return true;
  const query = new URL(request.url).searchParams;
  return query.has('ticket') || query.has('token');
}

/** @throws {AppError} `bad_request`; `invalid` for one beyond the bounds of JSON here */
export function parseMessage(text: string): JsonObject {
  let message: unknown;
  try {
    message = parseJsonMessage(text);
  } catch (error) {
    throw error instanceof SyntaxError ? new AppError('bad_request', 'A message must be JSON') : error;
  }
  if (!isJsonObject(message)) throw new AppError('bad_request', 'A message must be a JSON object');
  return message;
}

/** What the client calls its message: told again with the answer. */
export function refOf({ ref }: JsonObject): { ref?: string | number } {
  return (typeof ref === 'string' && ref.length <= MOST_NAME) || typeof ref === 'number' ? { ref } : {};
}

/**
 * What the client calls a stream.
 * @throws {AppError} `invalid`
 */
export function sidOf({ sid }: JsonObject): string {
  if (typeof sid === 'string' && sid !== '' && sid.length <= MOST_NAME && sid.isWellFormed()) return sid;
  throw new AppError('invalid', `sid must be a string of 1 to ${MOST_NAME} characters: your name for the stream`);
}

/**
 * What is to be published, not looked at yet.
 * @throws {AppError} `invalid`
 */
export function eventsOfMessage({ event, events }: JsonObject): readonly unknown[] {
  if (events === undefined) return [event];
  if (event !== undefined) throw new AppError('invalid', 'Give one event as event, or several as events');
  return eventsOf(events);
}

/** What is told of one event. */
export function resultOf(answer: Answer): object {
  return answer instanceof AppError ? { error: errorFields(answer) } : answer;
}
