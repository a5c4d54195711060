import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Domain } from '../domain.ts';
import { AppError } from '../errors.ts';
import { laxInteger } from '../http/lax-integer.ts';
import { OUTSIDE_READS, OUTSIDE_WRITES, type OutsideRead } from './table.ts';

export interface OutsideStartParts {
  readonly authenticator: HeaderAuthenticator;
}

type Texts = Readonly<Record<string, string | undefined>>;

const LIMIT = 50;
const MAX_OFFSET = 2_147_483_647;

/**
 * What DECNET's dashboard asks for and this server does not have: reads answer what there is, nothing, in the shape that the
 * pages expect; writes are refused.
 */
export function startOutside({ authenticator }: OutsideStartParts) {
  const viewers = new Elysia().use(guard(authenticator, 'viewer'));
  const admins = new Elysia().use(guard(authenticator, 'admin'));
  for (const read of OUTSIDE_READS) {
    const app = read.role === 'admin' ? admins : viewers;
    app.get(read.path, ({ params, query }) => answerOf(read, params, query));
  }
  for (const { method, path, does } of OUTSIDE_WRITES) {
    admins.route(method, path, () => {
      throw new AppError('unsupported', `This server does not ${does}`);
    });
  }
  return { routes: new Elysia({ name: 'outside' }).use(viewers).use(admins) } satisfies Domain;
}

function answerOf({ shape, numbers = {} }: OutsideRead, params: Texts, query: Texts) {
  for (const [name, bounds] of Object.entries(numbers)) numberIn(query, name, bounds[0], bounds);
  if (shape.is === 'fixed') return shape.body;
  if (shape.is === 'page') {
    const limit = numberIn(query, 'limit', LIMIT, [1, shape.most]);
    return { total: 0, limit, offset: numberIn(query, 'offset', 0, [0, MAX_OFFSET]), data: [] };
  }
  for (const [name, pattern] of Object.entries(shape.parts ?? {})) {
    if (!pattern.test(params[name] ?? '')) throw new AppError('bad_request', `${name} is malformed`);
  }
  throw new AppError('not_found', shape.detail);
}

function numberIn(query: Texts, name: string, fallback: number, [least, most]: readonly [number, number]): number {
  const text = query[name];
  if (text === undefined) return fallback;
  const number = laxInteger(text);
  if (number !== undefined && number >= least && number <= most) return number;
  throw new AppError('invalid', `${name} must be a whole number from ${least} to ${most}`);
}
