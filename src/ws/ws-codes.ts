import type { AppError, ErrorCode } from '../errors.ts';

/** What a client is told of something that went wrong, or of the end of its socket. */
export interface WsCode {
  /** In `error` messages and, where {@link ends} says so, as the close code of the socket (RFC 6455 §7.4). */
  readonly code: number;
  /** Whether the socket ends with it: `always`, `sign-in` (only while nobody has signed in), or `never`. */
  readonly ends: 'always' | 'sign-in' | 'never';
  /** Whether the same thing may succeed later, without anything being changed. */
  readonly retry: boolean;
  readonly text: string;
}

/** The only table of its kind: code, tests and README read it. Close codes 4000–4999 are for applications. */
export const WS_CODES = {
  dropped: { code: 1006, ends: 'always', retry: true, text: 'Nothing was read for too long, or the network broke' },
  too_large: { code: 1009, ends: 'always', retry: false, text: 'A message is larger than `max_message_bytes`' },
  restart: { code: 1012, ends: 'always', retry: true, text: 'The node stops; come back after `retry_ms`' },
  bad_request: { code: 4400, ends: 'never', retry: false, text: 'A message is no JSON object, or its `op` is unknown' },
  unauthenticated: { code: 4401, ends: 'sign-in', retry: false, text: 'The token or ticket is none that holds' },
  password_change_required: { code: 4402, ends: 'sign-in', retry: false, text: 'The password must be changed first' },
  forbidden: { code: 4403, ends: 'never', retry: false, text: 'The user may not do this' },
  not_found: {
    code: 4404,
    ends: 'never',
    retry: false,
    text: 'There is no such stream, or what it streams is no more',
  },
  auth_timeout: { code: 4408, ends: 'always', retry: true, text: 'Nobody signed in within `auth_ms`' },
  conflict: { code: 4409, ends: 'never', retry: false, text: 'The event id or the `sid` is taken' },
  session_ended: {
    code: 4410,
    ends: 'always',
    retry: false,
    text: 'The session expired or was revoked; sign in again',
  },
  flood: { code: 4413, ends: 'always', retry: true, text: 'More than `max_in_flight_bytes` wait for their answers' },
  invalid: { code: 4422, ends: 'never', retry: false, text: 'A value cannot be used; `detail` says which' },
  stream_limit: { code: 4429, ends: 'never', retry: true, text: 'The user has as many streams as one may have' },
  rate_limited: { code: 4430, ends: 'never', retry: true, text: 'Too many requests' },
  too_many_attempts: { code: 4431, ends: 'never', retry: true, text: 'Too many failed sign-ins' },
  internal: { code: 4500, ends: 'never', retry: true, text: 'The server failed; its log says why' },
  unsupported: { code: 4501, ends: 'never', retry: false, text: 'This server does not do that' },
  bad_gateway: { code: 4502, ends: 'never', retry: true, text: 'Something that the server runs for it has failed' },
  unavailable: { code: 4503, ends: 'never', retry: true, text: 'A service behind the server cannot be reached' },
} as const satisfies Readonly<Record<ErrorCode, WsCode>> & Readonly<Record<string, WsCode>>;

export type WsCodeName = keyof typeof WS_CODES;

/** How an error is told, in a message of its own or in the result of one event. */
export function errorFields(error: AppError | { readonly code: WsCodeName; readonly message: string }) {
  const { code, retry } = WS_CODES[error.code];
  return { code, name: error.code, retry, detail: error.message };
}
