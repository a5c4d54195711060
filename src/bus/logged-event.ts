import type { Entry } from './entry.ts';
import { type Event, isJsonObject, type Json } from './event.ts';

/** An event as the log holds it. */
export type LoggedEvent = Readonly<Omit<Event, 'v'>>;

/** As long as somebody holds the entry. */
const decoded = new WeakMap<Entry, LoggedEvent>();

/**
 * The event of an entry, decoded when the first reader asks: most entries are only handed on as the frames that they are. What
 * a foreign writer left out is empty.
 * @throws {SyntaxError} when a foreign writer's data is no JSON
 */
export function eventOf(entry: Entry): LoggedEvent {
  const known = decoded.get(entry);
  if (known !== undefined) return known;
  const data: Json = JSON.parse(entry.data);
  const { type, ts, payload } = isJsonObject(data) ? data : {};
  const event: LoggedEvent = {
    id: entry.id,
    topic: entry.topic,
    type: typeof type === 'string' ? type : '',
    ts: typeof ts === 'number' ? ts : 0,
    payload: isJsonObject(payload) ? payload : {},
  };
  decoded.set(entry, event);
  return event;
}

/** A text in the payload of an entry's event; `undefined` when there is none of this name. */
export function payloadText(entry: Entry, name: string): string | undefined {
  const value = eventOf(entry).payload[name];
  return typeof value === 'string' ? value : undefined;
}
