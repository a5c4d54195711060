import { assertTopic } from './topic.ts';

/** JSON as it travels in payloads. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };
export type JsonObject = { readonly [key: string]: Json | undefined };

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

/** A fresh event id: UUID v4 without dashes. */
export function newEventId(): string {
  return crypto.randomUUID().replaceAll('-', '');
}

/**
 * Makes an event. The topic is checked, so that nothing unmatched by any pattern enters the log.
 * @param id the producer's own id when it may publish again after a lost answer
 * @param now milliseconds since the epoch
 * @throws {TopicError} when the topic cannot be published
 */
export function createEvent(
  topic: string,
  type: string,
  payload: JsonObject,
  id: string = newEventId(),
  now: number = Date.now(),
): Event {
  assertTopic(topic);
  return { v: 1, id, topic, type, ts: now / 1000, payload };
}

/** The `data` of a live frame (contract §3.0): the envelope without `v` and `id`, encoded once, before it is stored. */
export function wireData(event: Event): string {
  return JSON.stringify({ topic: event.topic, type: event.type, ts: event.ts, payload: event.payload });
}

/** True for a JSON object: not an array, not null. For values that came out of `JSON.parse`. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
