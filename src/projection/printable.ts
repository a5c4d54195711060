import type { Json, JsonObject } from '../bus/event.ts';

/**
 * A value that can be printed as it is. Pages print values of payloads without looking at them, and where one is an object,
 * or a list with one in it, React gives up and the whole page goes blank: such a value becomes its JSON text.
 */
export function printable(value: Json | undefined): Json {
  if (value === undefined) return null;
  if (!isNested(value)) return value;
  return Array.isArray(value) && !value.some(isNested) ? value : JSON.stringify(value);
}

/** An object of which every value is {@link printable}. */
export function printableFields(fields: JsonObject): JsonObject {
  const entries = Object.entries(fields);
  return entries.some(([, value]) => isNested(value))
    ? Object.fromEntries(entries.map(([name, value]) => [name, printable(value)]))
    : fields;
}

const isNested = (value: Json | undefined) => typeof value === 'object' && value !== null;
