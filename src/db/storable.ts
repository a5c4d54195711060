/**
 * Whether text from a request can be compared with a column at all: PostgreSQL's text holds no NUL, half of a surrogate
 * pair is stored as something else, and Elysia hands out null for a path that it cannot decode.
 */
export function isStorable(id: string | null): id is string {
  return id !== null && !id.includes('\0') && id.isWellFormed();
}
