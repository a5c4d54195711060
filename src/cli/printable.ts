// What a terminal would obey, or show in another order than it stands: C0 and C1 controls, line separators, bidirectional marks.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/**
 * Text for a terminal: attackers choose what is in events, and an escape sequence among it must not reach the operator's
 * terminal. Each such character becomes `\uXXXX`, which inside a JSON string means the same.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** One line of JSON, safe to show. */
export function jsonLine(value: unknown): string {
  return printable(JSON.stringify(value));
}
