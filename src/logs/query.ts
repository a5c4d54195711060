import { AppError } from '../errors.ts';
import { isoTimeOf } from '../projection/payload.ts';
import { type LogQuery, parseSearch } from './search.ts';

/** Values with which pages say that they filter nothing (contract P0). */
const NO_FILTER = new Set(['', 'null', 'NULL', 'undefined']);

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

function timeIn(text: string | undefined, name: string): string | undefined {
  if (text === undefined || NO_FILTER.has(text)) return undefined;
  const time = isoTimeOf(text);
  if (time === undefined) throw new AppError('invalid', `${name} must be a time such as 2026-11-21 08:00:00`);
  return time;
}
