import { Elysia, type ValidationError } from 'elysia';
import { EventError, isJsonObject } from '../bus/event.ts';
import { TopicError } from '../bus/topic.ts';
import { AppError, describeError, type ErrorCode } from '../errors.ts';
import { type Log, redact } from '../telemetry/log.ts';
import { backendFailure } from './backend-failures.ts';

/** Which status each code becomes, and the headers that go with it. The only table of its kind. */
const STATUS: Readonly<Record<ErrorCode, { status: number; headers?: Record<string, string> }>> = {
  unauthenticated: { status: 401, headers: { 'www-authenticate': 'Bearer' } },
  password_change_required: { status: 403 },
  forbidden: { status: 403 },
  not_found: { status: 404 },
  conflict: { status: 409 },
  bad_request: { status: 400 },
  invalid: { status: 422 },
  stream_limit: { status: 429, headers: { 'retry-after': '5' } },
  rate_limited: { status: 429 },
  too_many_attempts: { status: 429, headers: { 'retry-after': '4' } },
  unavailable: { status: 503, headers: { 'retry-after': '2' } },
  unsupported: { status: 501 },
  bad_gateway: { status: 502 },
};

const STRUCTURAL = 'Bad Request: Schema structural violation (wrong type, extra fields, or invalid length).';
const INVALID = 'Invalid request parameters';

/** What a failure is told as among the answers to many things that were asked for at once. */
export function errorFields({ code, message }: AppError): { status: number; detail: string } {
  return { status: STATUS[code].status, detail: message };
}

/** The JSON answer for a failure. */
export function errorResponse(error: AppError): Response {
  const { status, headers = {} } = STATUS[error.code];
  // slowapi's field, which DECNET's clients know (contract §4.5); its pages show `detail`, and without it that the password is wrong.
  const slowapi = error.code === 'rate_limited' ? { error: error.message } : {};
  return Response.json({ ...slowapi, detail: error.message }, { status, headers });
}

/**
 * Turns everything that a route throws into the answers of contract §5.3. Answers are `Response` objects: Elysia loses
 * the body of other forms when a response hook is present.
 * @param options.developer adds the exception's type and stack to 500 answers
 * @param options.methodsOf the methods that a path is served under; another method of such a path is a 405
 */
export function errorHandling(
  logger: Log,
  { developer, methodsOf }: { developer: boolean; methodsOf: (path: string) => readonly string[] },
) {
  // Elysia makes an array or a number an empty object before it validates, and tells only of that.
  const withoutObject = new WeakSet<Request>();
  const noteBody = ({ body, request }: { body: unknown; request: Request }) => {
    if (body !== undefined && !isJsonObject(body)) withoutObject.add(request);
  };
  return new Elysia({ name: 'error-handling' })
    .onTransform({ as: 'global' }, noteBody)
    .onError({ as: 'global' }, ({ error, code, request }) => {
      const refused = refusalOf(error);
      if (refused !== undefined) return errorResponse(refused);
      if (code === 'NOT_FOUND') return notFound(methodsOf(new URL(request.url).pathname));
      if (code === 'PARSE' && error.cause instanceof AppError) return errorResponse(error.cause);
      if (code === 'PARSE') return Response.json({ detail: INVALID }, { status: 422 });
      if (code === 'VALIDATION') return validationResponse(error, withoutObject.has(request));
      return unexpected(error, request, logger, developer);
    });
}

/** What a caller is told who asked for what cannot be had; `undefined` for a failure that is not the caller's. */
export function refusalOf(error: unknown): AppError | undefined {
  if (error instanceof AppError) return error;
  return error instanceof EventError || error instanceof TopicError
    ? new AppError('invalid', error.message)
    : undefined;
}

/** What a caller is told of a failure behind this process; `undefined` for one that nobody has thought of. */
export function backendRefusalOf(error: unknown): AppError | undefined {
  const cause = backendFailure(error);
  if (cause === undefined) return undefined;
  return cause === 'unavailable'
    ? new AppError(cause, 'A backing service is unreachable; try again shortly')
    : new AppError(cause, 'A value is longer or larger than can be stored');
}

function notFound(methods: readonly string[]): Response {
  if (methods.length === 0) return Response.json({ detail: 'Not Found' }, { status: 404 });
  return Response.json({ detail: 'Method Not Allowed' }, { status: 405, headers: { allow: methods.join(', ') } });
}

/**
 * Contract §5.3 rule 3: a missing field, a too short string, a non-string where a string belongs or an extra field is a
 * 400; everything else is a 422.
 */
function validationResponse(error: Readonly<ValidationError>, isNoObject: boolean): Response {
  if (error.value === undefined) return Response.json({ detail: STRUCTURAL }, { status: 400 });
  const structural = error.all.some((issue) => {
    if (isNoObject) return false;
    if (!('path' in issue)) return false;
    const summary = `${'message' in issue ? issue.message : ''}`;
    return STRUCTURAL_ISSUES.some((pattern) => pattern.test(summary));
  });
  return structural
    ? Response.json({ detail: STRUCTURAL }, { status: 400 })
    : Response.json({ detail: INVALID }, { status: 422 });
}

// TypeBox's default messages (its ValueErrorType numbers are not part of Elysia's typed surface).
const STRUCTURAL_ISSUES = [
  /^Expected required property/,
  /^Expected string length greater or equal to/,
  /^Expected string$/,
  /^Unexpected property/,
];

function unexpected(error: unknown, request: Request, logger: Log, developer: boolean): Response {
  const message = describeError(error);
  const fields = { method: request.method, path: new URL(request.url).pathname, error: message };
  const refusal = backendRefusalOf(error);
  if (refusal !== undefined) {
    const isAway = refusal.code === 'unavailable';
    logger.warn(isAway ? 'a backing service is unreachable' : 'the database cannot hold a value of a request', fields);
    return errorResponse(refusal);
  }
  const errorId = crypto.randomUUID().replaceAll('-', '');
  const stack = error instanceof Error ? error.stack : undefined;
  logger.error('unhandled error', { ...fields, error_id: errorId, stack });
  const details = developer
    ? { exception_type: error instanceof Error ? error.name : typeof error, traceback: redact(stack ?? message) }
    : {};
  return Response.json({ detail: 'Internal Server Error', error_id: errorId, ...details }, { status: 500 });
}
