import { isJsonObject, type JsonObject } from './json.ts';
import { boundsOf } from './json-bounds.ts';
import { assertTopic } from './topic.ts';

export { isJsonObject, type Json, type JsonObject } from './json.ts';

/** The envelope of every event (contract §2.1). */
export interface Event {
  readonly v: 1;
  /** 32 hex characters (a UUID without dashes), or what the producer chose: the key of idempotent publishing. */
  readonly id: string;
  readonly topic: string;
  /** What the publisher passed; empty where it passed nothing. */
  readonly type: string;
  /** Seconds since the epoch. */
  readonly ts: number;
  readonly payload: JsonObject;
}

/** Levels of objects and lists in a payload, the payload itself counted. Far below what any JSON library gives up at. */
export const MAX_PAYLOAD_DEPTH = 64;
/** Bytes of an event's data on the wire (UTF-8), its time left out: told again later, the same thing has the same size. */
export const MAX_EVENT_BYTES = 2 * 1024 * 1024;
/** Characters of a type. */
export const MAX_TYPE_LENGTH = 512;

/** An id is part of a Redis key. */
const EVENT_ID = /^[^\s\p{Cc}]{1,200}$/u;

export type EventErrorCode = 'id' | 'topic' | 'type' | 'too_deep' | 'too_large' | 'unreadable';

/** An event that cannot be published, whoever tries; the message says what to do about it. */
export class EventError extends Error {
  readonly code: EventErrorCode;

  constructor(code: EventErrorCode, message: string) {
    super(message);
    this.name = 'EventError';
    this.code = code;
  }
}

/** A fresh event id: UUID v4 without dashes. */
export function newEventId(): string {
  return crypto.randomUUID().replaceAll('-', '');
}

/**
 * Makes an event that can be published: nothing unmatched by any pattern enters the log, and nothing that is accepted
 * cannot be encoded later.
 * @param id the producer's own id when it may publish again after a lost answer
 * @param now milliseconds since the epoch
 * @throws {TopicError} when the topic cannot be published
 * @throws {EventError} when something else of it cannot
 */
export function createEvent(
  topic: string,
  type: string,
  payload: JsonObject,
  id: string = newEventId(),
  now: number = Date.now(),
): Event {
  const event: Event = { v: 1, id, topic, type, ts: now / 1000, payload };
  assertPublishable(event);
  return event;
}

/**
 * Checks all that can keep an event from being published, for every way in.
 * @throws {TopicError} when the topic cannot be published
 * @throws {EventError} when something else of it cannot
 */
export function assertPublishable(event: Event): void {
  const { id, topic, type, payload } = event;
  if (!EVENT_ID.test(id) || !id.isWellFormed()) {
    throw new EventError('id', 'an event id must have 1 to 200 characters, without white space or control characters');
  }
  assertTopic(topic);
  // Neither survives the way through Redis and PostgreSQL.
  if (!isPlain(topic)) throw new EventError('topic', 'a topic must not hold NUL or half a character');
  if (!isPlain(type)) throw new EventError('type', 'a type must not hold NUL or half a character');
  if (type.length > MAX_TYPE_LENGTH) {
    throw new EventError('type', `a type must have at most ${MAX_TYPE_LENGTH} characters`);
  }
  // Topic and type are bounded by now: only a large payload needs a second look.
  if (assertDepth(payload) + (topic.length + type.length) * 6 + 100 <= MAX_EVENT_BYTES) return;
  assertSize(Buffer.byteLength(wireData({ ...event, ts: 0 })), 'the event');
}

/**
 * Checks what is to be stored and told later, in part or as a whole.
 * @throws {EventError} when it nests too deep or is larger than any event may be
 */
export function assertReportable(payload: JsonObject): void {
  if (assertDepth(payload) > MAX_EVENT_BYTES) assertSize(Buffer.byteLength(JSON.stringify(payload)), 'the JSON');
}

/** @returns bytes that it has at most */
function assertDepth(payload: JsonObject): number {
  const { isTooDeep, atMostBytes } = boundsOf(payload, MAX_PAYLOAD_DEPTH);
  if (isTooDeep) {
    throw new EventError('too_deep', `the JSON nests deeper than ${MAX_PAYLOAD_DEPTH} levels; flatten it`);
  }
  return atMostBytes;
}

function assertSize(bytes: number, what: string): void {
  if (bytes <= MAX_EVENT_BYTES) return;
  const limit = `${what} has ${bytes} bytes when it is encoded, more than ${MAX_EVENT_BYTES}`;
  throw new EventError('too_large', `${limit}; send less, or split it`);
}

function isPlain(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

/**
 * What the body of an event is known by: its topic, type and payload, in whatever order the names come; not its time,
 * which is new each time that it is told.
 */
export function digestOf({ topic, type, payload }: Event): string {
  const text = JSON.stringify([topic, type, payload], (_name, value: unknown) => {
    if (!isJsonObject(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
  return new Bun.CryptoHasher('sha256').update(text).digest('hex').slice(0, 16);
}

/** The `data` of a live frame (contract §3.0): the envelope without `v` and `id`, encoded once, before it is stored. */
export function wireData(event: Event): string {
  return JSON.stringify({ topic: event.topic, type: event.type, ts: event.ts, payload: event.payload });
}
