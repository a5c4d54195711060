/**
 * Every failure that a caller can be told about has a code here. Domains throw {@link AppError}; only the HTTP layer
 * (`http/errors.ts`) knows which status a code becomes.
 */
export type ErrorCode =
  | 'unauthenticated'
  | 'password_change_required'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'bad_request'
  | 'invalid'
  | 'stream_limit'
  | 'rate_limited'
  | 'too_many_attempts'
  | 'unavailable'
  /** Something that this server runs for the caller has failed. */
  | 'bad_gateway'
  /** What a dashboard may ask for and this server does not do. */
  | 'unsupported';

/** A failure with a code and a message that tells the caller what to do. The message may reach a client: no secrets. */
export class AppError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail: string) {
    super(detail);
    this.name = 'AppError';
    this.code = code;
  }
}

/** The message of anything that was thrown, for a log line. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
