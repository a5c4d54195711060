import { AppError } from '../errors.ts';
import { BodyFields } from '../http/body-fields.ts';
import { intervalMs } from './rotation.ts';

/** DECNET's units: minutes, days, months of 30 days, years of 365 (contract P2.4). */
const TEXT = /^[1-9]\d*[mdMyY]$/;
/** Longer than any interval. */
const MAX_LENGTH = 16;

/**
 * Reads an interval such as `30m` or `5d`.
 * @throws {AppError} `bad_request` when it is no text, `invalid` for another text
 */
export function intervalIn(body: unknown, name: string): string {
  const fields = new BodyFields(body);
  const interval = fields.text(name, { min: 0, max: MAX_LENGTH });
  fields.check();
  return checkedInterval(interval, name);
}

/** @throws {AppError} `invalid` */
export function checkedInterval(interval: string, name: string): string {
  if (TEXT.test(interval) && intervalMs(interval) !== undefined) return interval;
  throw new AppError(
    'invalid',
    `${name} must be a number and a unit of m, d, M or y, such as 30m or 5d, and at most a hundred years`,
  );
}
