/**
 * Whether text from a request can be compared with a column at all: PostgreSQL's text holds no NUL, half of a surrogate
 * pair is stored as something else, and Elysia hands out null for a path that it cannot decode.
 */
export function isStorable(id: string | null): id is string {
  return id !== null && !id.includes('\0') && id.isWellFormed();
}

/**
 * Text that both databases take: without NUL and halves of characters.
 * @param most characters; what is longer is cut
 */
export function storable(text: string, most: number): string {
  const whole = text.length > most ? text.slice(0, most) : text;
  return whole.replaceAll('\0', '\ufffd').toWellFormed();
}
