import { isJsonObject, type JsonObject, MAX_PAYLOAD_DEPTH } from '../bus/event.ts';
import { boundsOf } from '../bus/json-bounds.ts';
import type { LogRow } from '../db/schema.ts';
import { isoOf, jsonText, storable, textOf, timeOf } from '../projection/payload.ts';
import { printableFields } from '../projection/printable.ts';
import type { LoggedEvent } from '../projection/projection.ts';

/** The topic of a line of a decky's log: DECNET's collector tells each (contract §1.3). */
export const LOG_LINE_TOPIC = 'system.log';
/** The channel of those events: the lower part of a line's id is its offset there. */
export const LOG_LINE_CHANNEL = 'system';

/** Characters of a raw line, and of its fields as JSON, that are kept. */
const MOST = { raw: 16_384, fields: 65_536, message: 8192 } as const;
/** What DECNET's collector says where it knows no address. */
const UNKNOWN = 'Unknown';
/** A line's id is its epoch's ordinal times this, plus its offset, which is below half of it; it stays below 2^53. */
const OFFSETS = 2 ** 40;
/** So often the same offset of an epoch may be handed out, and still each line has an id. */
const LIVES = 64;

/** The id of a line that the log holds: rising with the log, and the same wherever it is worked out. */
export function lineId(ordinal: number, offset: number): number {
  return ordinal * OFFSETS + offset;
}

/**
 * Ids for a line that the log has lost, when another one has its place and with it its id. They come before those of all lines
 * of its epoch: nobody who asks for what came after one that is there gets it again.
 */
export function lostLineIds(id: number): number[] {
  const [ordinal, offset] = [Math.floor(id / OFFSETS), id % OFFSETS];
  const width = OFFSETS / 2 / LIVES;
  const begin = ordinal * OFFSETS - OFFSETS / 2;
  return Array.from({ length: LIVES }, (_, life) => begin + life * width + (offset % width));
}

/**
 * The row of a line (contract §3.6). DECNET's collector tells decky, service, type, address and time of a line; a producer
 * that wants the line itself to be seen adds `raw_line`, `fields` (an object, or one as text), `msg`, `trace_id`, `span_id`.
 * @param id see {@link lineId}
 * @returns `undefined` when the event tells of no line: it names no decky
 */
export function logRowOf(
  { payload, type, ts }: Pick<LoggedEvent, 'payload' | 'type' | 'ts'>,
  id: number,
): LogRow | undefined {
  const decky = textOf(payload, 'decky', 255);
  if (decky === undefined) return undefined;
  return {
    id,
    timestamp: timeOf(payload, 'timestamp') ?? isoOf(ts),
    decky,
    service: textOf(payload, 'service', 255) ?? '-',
    event_type: textOf(payload, 'event_type', 255) ?? (storable(type, 255) || '-'),
    attacker_ip: textOf(payload, 'attacker_ip', 255) ?? UNKNOWN,
    raw_line: textOf(payload, 'raw_line', MOST.raw) ?? '',
    fields: fieldsOf(payload),
    msg: textOf(payload, 'msg', MOST.message) ?? null,
    trace_id: textOf(payload, 'trace_id', 64) ?? null,
    span_id: textOf(payload, 'span_id', 64) ?? null,
  };
}

function fieldsOf({ fields }: JsonObject): string {
  if (isJsonObject(fields)) return jsonText(printableFields(fields), '{}', MOST.fields);
  if (typeof fields !== 'string' || fields.length > MOST.fields) return '{}';
  try {
    const value: unknown = JSON.parse(fields);
    // As deep as an event may be: both databases refuse to look into what is deeper, and with it into all others.
    return isJsonObject(value) && !boundsOf(value, MAX_PAYLOAD_DEPTH).isTooDeep
      ? jsonText(printableFields(value), '{}', MOST.fields)
      : '{}';
  } catch {
    return '{}';
  }
}
