import type { Json, JsonObject } from '../bus/event.ts';

/** An event as DECNET's webhooks tell it. */
export interface WebhookEvent {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  /** Seconds since the epoch. */
  readonly ts: number;
  readonly payload: JsonObject;
}

/**
 * DECNET's body, byte for byte (contract §7.3): keys sorted by code point at every depth, compact, UTF-8, the time as Python's
 * `isoformat` writes it in UTC.
 */
export function decnetBody(event: WebhookEvent): string {
  const { id, payload, topic, type } = event;
  return canonicalJson({ id, payload, topic, ts: isoTime(event.ts), type, v: 1 });
}

/** JSON with its keys sorted at every depth, compact. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const keys = sorted(Object.keys(value));
  const fields = keys.flatMap((key) => {
    const field = (value as JsonObject)[key];
    return field === undefined ? [] : [`${JSON.stringify(key)}:${canonicalJson(field)}`];
  });
  return `{${fields.join(',')}}`;
}

// Python sorts by code point, JavaScript by UTF-16 unit: they differ above U+FFFF, where there are surrogates.
function sorted(keys: string[]): string[] {
  return keys.some((key) => /[\ud800-\udfff]/.test(key)) ? keys.sort(byCodePoint) : keys.sort();
}

function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

const MICROSECONDS = 1_000_000;

/** Python's `datetime.isoformat` in UTC: microseconds only where there are some. */
export function isoTime(ts: number): string {
  const micros = Math.round(ts * MICROSECONDS);
  const seconds = Math.floor(micros / MICROSECONDS);
  const rest = micros - seconds * MICROSECONDS;
  const date = new Date(seconds * 1000).toISOString().slice(0, 19);
  return `${date}${rest === 0 ? '' : `.${String(rest).padStart(6, '0')}`}+00:00`;
}
