import { AppError } from '../errors.ts';
import type { StreamDeclaration } from './declaration.ts';

/** `?since=`: seconds since the epoch, or so long ago. */
const SINCE = /^(?:(\d{1,12}(?:\.\d{1,6})?)|([1-9]\d{0,8})([smhd]))$/;
const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/**
 * The time that a stream is to begin at: seconds since the epoch, negative for so long ago, 0 for all that is kept.
 * @param query of the request
 * @throws {AppError} `invalid`
 */
export function sinceOf(declaration: StreamDeclaration, query: URLSearchParams): number | undefined {
  const text = query.get('since');
  if (text === null) return undefined;
  if (!declaration.takesPatterns)
    throw new AppError('invalid', 'since: this stream begins with its state; leave it out');
  const [match, time, amount, unit = ''] = SINCE.exec(text) ?? [];
  if (match === undefined) {
    throw new AppError('invalid', 'since must be seconds since the epoch, or a number with s, m, h or d such as 10m');
  }
  return time === undefined ? -Number(amount) * SECONDS[unit as keyof typeof SECONDS] : Number(time);
}
