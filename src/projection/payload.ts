import { isJsonObject, type Json, type JsonObject } from '../bus/event.ts';
import { storable } from '../db/storable.ts';

export { storable } from '../db/storable.ts';

/** Longest text that is taken over from a payload, in characters; what is longer is cut. */
const MAX_TEXT = 1024;

/**
 * A text of a payload, fit for both databases: without NUL and halves of characters.
 * @param most characters
 * @returns `undefined` when it is no text, or empty
 */
export function textOf(payload: JsonObject, name: string, most = MAX_TEXT): string | undefined {
  const value = payload[name];
  return typeof value === 'string' && value !== '' ? storable(value, most) : undefined;
}

/** A finite number of a payload. */
export function numberOf(payload: JsonObject, name: string): number | undefined {
  const value = payload[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** The highest number that a column of 32 bits can hold: what is counted up from what somebody told stays there. */
export const MAX_COUNT = 2 ** 31 - 1;

/** A count of a payload: a whole number that a column of 32 bits can hold. */
export function countOf(payload: JsonObject, name: string): number | undefined {
  const value = numberOf(payload, name);
  return value !== undefined && Number.isInteger(value) && value >= 0 && value <= MAX_COUNT ? value : undefined;
}

/**
 * The texts of a list in a payload.
 * @param limits.most texts
 * @param limits.length characters of each
 */
export function textsOf(
  payload: JsonObject,
  name: string,
  { most = 1000, length = MAX_TEXT }: { readonly most?: number; readonly length?: number } = {},
): string[] {
  const value = payload[name];
  if (!Array.isArray(value)) return [];
  return value
    .slice(0, most)
    .flatMap((item) => (typeof item === 'string' && item !== '' ? [storable(item, length)] : []));
}

/** The objects of a list in a payload. */
export function objectsOf(payload: JsonObject, name: string, most = 1000): JsonObject[] {
  const value = payload[name];
  return Array.isArray(value) ? value.slice(0, most).filter(isJsonObject) : [];
}

/**
 * Any JSON as text for a column.
 * @param most characters; what is longer becomes `instead`
 */
export function jsonText(value: Json | undefined, instead: string, most = 16_384): string {
  if (value === undefined) return instead;
  const text = JSON.stringify(value, clean);
  return text.length <= most ? text : instead;
}

/** PostgreSQL's JSON functions take neither NUL nor half a character, escaped or not. */
function clean(_name: string, value: unknown): unknown {
  if (typeof value === 'string') return storable(value, value.length);
  if (!isJsonObject(value) || Object.keys(value).every(isClean)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [storable(name, name.length), item]));
}

const isClean = (name: string) => name.isWellFormed() && !name.includes('\0');

/**
 * Where times end that are taken over, in milliseconds: ISO writes later ones with more digits, which sort before all others, and
 * their minutes do not fit into a column of 32 bits.
 */
const END_OF_TIME = Date.UTC(6000, 0);

const isUsable = (ms: number) => Number.isFinite(ms) && ms >= 0 && ms < END_OF_TIME;

/** Seconds since the epoch as ISO time; the fallback where they are no usable time. */
export function isoOf(seconds: number, fallback = 0): string {
  const ms = seconds * 1000;
  return new Date(isUsable(ms) ? ms : fallback * 1000).toISOString();
}

/** The time that a text names, as ISO time in UTC; without a zone it is UTC. `undefined` when it names none. */
export function timeOf(payload: JsonObject, name: string): string | undefined {
  const text = textOf(payload, name, 40);
  return text === undefined ? undefined : isoTimeOf(text);
}

const TIME = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(Z|[+-]\d{2}:?\d{2})?$/;

/** The time that a text names, as ISO time in UTC; without a zone it is UTC. `undefined` when it names none. */
export function isoTimeOf(text: string): string | undefined {
  const [, day, time, zone = 'Z'] = TIME.exec(text.trim()) ?? [];
  if (day === undefined || time === undefined) return undefined;
  const ms = Date.parse(`${day}T${time}${zone}`);
  return isUsable(ms) ? new Date(ms).toISOString() : undefined;
}
