import { describeError, type ErrorCode } from '../errors.ts';

type BackendFailure = Extract<ErrorCode, 'unavailable' | 'invalid'>;

/**
 * What the codes of drivers and servers mean: of the system; SQLSTATEs, whose first two characters are their class
 * (PostgreSQL, appendix A); SQLite's, which may go on after the primary code (sqlite.org/rescode.html); the first word of a
 * Redis error.
 */
const CODES: readonly (readonly [pattern: RegExp, failure: BackendFailure])[] = [
  [/^E(?:CONNREFUSED|CONNRESET|CONNABORTED|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|AI_AGAIN)$/, 'unavailable'],
  // The connection; too few resources (connections, disk); shut down or starting; lost to another transaction.
  [/^(?:08...|53...|57P..|40001|40P01|55P03)$/, 'unavailable'],
  [/^SQLITE_(?:BUSY|LOCKED|FULL)(?:_\w+)?$/, 'unavailable'],
  // It loads, follows, is full or fails over.
  [/^(?:LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|MISCONF|NOREPLICAS|BUSY)$/, 'unavailable'],
  // Text too long, a number out of range, characters that PostgreSQL has not; an entry too long for an index.
  [/^(?:22001|22003|22021|22P05|54000)$/, 'invalid'],
  [/^SQLITE_TOOBIG$/, 'invalid'],
];

/** What drivers say without a code. */
const UNREACHABLE = new RegExp(
  [
    'ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN|connect ENOENT',
    // ioredis
    "Connection is closed|max retries per request|Stream isn't writeable|Command timed out",
    // pg; the third is a transaction whose connection broke between two of its statements
    'Connection terminated|connection timeout|is not queryable|timeout exceeded when trying to connect|timeout expired',
    // PostgreSQL
    'the database system is (?:starting up|shutting down)|terminating connection|too many clients',
    // SQLite
    'database is locked',
  ].join('|'),
  'i',
);

/**
 * Whether something that was thrown is the word of a database or a Redis that cannot be reached or is too busy
 * (`unavailable`), or that cannot hold what the client sent (`invalid`).
 */
export function backendFailure(error: unknown): BackendFailure | undefined {
  const code = codeOf(error);
  const known = code === undefined ? undefined : CODES.find(([pattern]) => pattern.test(code));
  if (known !== undefined) return known[1];
  return UNREACHABLE.test(describeError(error)) ? 'unavailable' : undefined;
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error.name === 'ReplyError') return error.message.split(' ', 1)[0];
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
