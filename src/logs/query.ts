import { AppError } from '../errors.ts';
import { filterOf } from '../http/paging.ts';
import { isoTimeOf } from '../projection/payload.ts';
import { type LogQuery, parseSearch } from './search.ts';

/**
 * Which lines the query of a request asks for. Times without a zone are UTC.
 * @throws {AppError} `invalid` for a time that is none
 */
export function logQueryOf(query: { search?: string; start_time?: string; end_time?: string }): LogQuery {
  const [start, end] = [timeIn(query.start_time, 'start_time'), timeIn(query.end_time, 'end_time')];
  return {
    search: parseSearch(query.search),
    range: { ...(start === undefined ? {} : { start }), ...(end === undefined ? {} : { end }) },
  };
}

function timeIn(asked: string | undefined, name: string): string | undefined {
  const text = filterOf(asked);
  if (text === undefined) return undefined;
  const time = isoTimeOf(text);
  if (time === undefined) throw new AppError('invalid', `${name} must be a time such as 2026-11-21 08:00:00`);
  return time;
}
