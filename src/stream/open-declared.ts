import type { Principal } from '../auth/principal.ts';
import { assertRole } from '../auth/rights.ts';
import { AppError } from '../errors.ts';
import { type StreamDeclaration, subscriptionTo } from './declaration.ts';
import type { Resumption } from './recovery.ts';
import { sinceOf } from './since.ts';
import type { Admission, Streams } from './streams.ts';

/** Who asks for a stream. */
export interface Caller {
  readonly principal: Principal;
  /** {@link Streams.revocations} before the principal was authenticated. */
  readonly heard: number;
}

/** Which stream is asked for, and from where. */
export interface StreamRequest {
  readonly declaration: StreamDeclaration;
  /** Of the thing that it belongs to; empty where there is none. */
  readonly id: string;
  readonly query: URLSearchParams;
  readonly resumption: Resumption;
}

/**
 * Everything that can be refused is refused here, whatever will carry the stream, in the order 403, 422, 404, 429, 503.
 * @throws {AppError}
 */
export async function openDeclared(
  streams: Streams,
  { principal, heard }: Caller,
  { declaration, id, query, resumption }: StreamRequest,
): Promise<Admission> {
  assertRole(principal, 'anyone');
  // Refuses what cannot be asked for before it looks for anything.
  subscriptionTo(declaration, id, principal, query);
  const since = sinceOf(declaration, query);
  await declaration.assertExists?.(id);
  const narrowing = await declaration.narrow?.(id, query);
  const isNew = resumption.kind === 'malformed' && narrowing?.startsAnew === true;
  const asked: Resumption = isNew ? { kind: 'fresh' } : resumption;
  // Who has a cursor has what came before it.
  const isFromTime = since !== undefined && asked.kind === 'fresh';
  const request = isFromTime ? await streams.resumptionSince(since) : asked;
  const subscription = { ...subscriptionTo(declaration, id, principal, query, narrowing), request };
  const stream = `${declaration.name}:${id}`;
  return streams.admit({ principal, gate: 'anyone', heard, stream, subscription });
}

/**
 * The stream that a path below `/api/v1` names, with its query: `/topologies/t1/events?once=1`.
 * @throws {AppError} `not_found`
 */
export function streamAt(declarations: readonly StreamDeclaration[], path: string): Omit<StreamRequest, 'resumption'> {
  const [pathname = '', query = ''] = path.split('?', 2);
  const segments = pathname.split('/');
  for (const declaration of declarations) {
    const pattern = declaration.path.split('/');
    const matches = pattern.every((part, index) => part === segments[index] || (part === ':id' && segments[index]));
    if (!matches || pattern.length !== segments.length) continue;
    const id = decoded(segments[pattern.indexOf(':id')] ?? '');
    return { declaration, id, query: new URLSearchParams(query) };
  }
  throw unknownStream(pathname);
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw unknownStream(segment);
  }
}

function unknownStream(path: string): AppError {
  return new AppError('not_found', `There is no stream '${path.slice(0, 200)}'; name one by its path below /api/v1`);
}
