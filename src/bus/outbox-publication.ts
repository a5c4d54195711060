import type { OutboxRow } from '../db/schema.ts';
import { TOPOLOGY_PREFIX } from './channel.ts';
import { assertPublishable, createEvent, type Event, EventError, isJsonObject, type JsonObject } from './event.ts';
import type { Publication } from './event-log.ts';

/** From publishing to the deletion of the row a crash may come between; the id is remembered until then (a week). */
const REMEMBER_MS = 7 * 24 * 3_600_000;
/** An error is told, not its payload. */
const MAX_ERROR = 500;

/**
 * What a row of the outbox says is to be published.
 * @throws {EventError} or {TopicError} when the row cannot be read or is nothing that can be published
 */
export function publicationOf(row: OutboxRow): Publication {
  const payload = objectIn(row.payload);
  const revisions = objectIn(row.revisions);
  if (payload === undefined || revisions === undefined || !isRevisions(revisions)) {
    throw new EventError('unreadable', 'the row of the outbox holds no JSON objects');
  }
  const event: Event = { v: 1, id: row.event_id, topic: row.topic, type: row.type, ts: row.ts, payload };
  assertPublishable(event);
  const { forget } = row;
  return { event, revisions, rememberMs: REMEMBER_MS, ...(forget === null ? {} : { forget }) };
}

/**
 * What is published in the place of a row that cannot be: the same event without its content. It takes the row's place in
 * the revisions, so that clients see that they lack something, where, and what it was about.
 * @throws {EventError} or {TopicError} when its id or its topic cannot be published either
 */
export function substituteFor(row: OutboxRow, error: string): Publication {
  const stored = objectIn(row.revisions);
  const revisions = stored !== undefined && isRevisions(stored) ? stored : {};
  // A decky's event is in its topology's channel because the payload says so.
  const channel = row.topic.startsWith('decky.')
    ? Object.keys(revisions).find((name) => name.startsWith(TOPOLOGY_PREFIX))
    : undefined;
  const payload = {
    set_aside: true,
    reason: excerpt(error),
    ...(channel === undefined ? {} : { topology_id: channel.slice(TOPOLOGY_PREFIX.length) }),
  };
  const event: Event = { v: 1, id: row.event_id, topic: row.topic, type: excerpt(row.type), ts: row.ts, payload };
  assertPublishable(event);
  return { event, revisions, rememberMs: REMEMBER_MS };
}

/**
 * Tells that an event was set aside, in the log alone: that depends on nothing but what every event needs, so it also shows
 * whether events can be published at all.
 */
export function noticeOf(row: Pick<OutboxRow, 'event_id' | 'topic'>, error: string): Publication {
  const payload = { event_id: excerpt(row.event_id), topic: excerpt(row.topic), reason: excerpt(error) };
  return { event: createEvent('log.set_aside', 'set_aside', payload) };
}

/** The beginning of a text, fit for any column and any event. */
export function excerpt(text: string): string {
  return text.slice(0, MAX_ERROR).replaceAll('\0', '\ufffd').toWellFormed();
}

function objectIn(json: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isRevisions(value: JsonObject): value is Record<string, number> {
  return Object.values(value).every((revision) => typeof revision === 'number');
}
