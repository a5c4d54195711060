import { InvalidArgumentError } from '@commander-js/extra-typings';
import { assertPattern } from '../bus/topic.ts';
import { describeError } from '../errors.ts';

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** Seconds of `90s`, `10m`, `2h` or `30d`; for options. */
export function durationSeconds(text: string): number {
  const [, amount, unit] = /^([1-9]\d{0,8})([smhd])$/.exec(text) ?? [];
  if (amount === undefined || unit === undefined) {
    throw new InvalidArgumentError('Give a number with s, m, h or d, such as 10m.');
  }
  return Number(amount) * SECONDS[unit as keyof typeof SECONDS];
}

/** A whole number from 1 on; for options. */
export function positiveInteger(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 1 on.');
  return Number(text);
}

/** A pattern of topics, with those given before it; for options and arguments that may be given often. */
export function pattern(text: string, before: string[] | undefined): string[] {
  try {
    assertPattern(text);
  } catch (error) {
    throw new InvalidArgumentError(describeError(error));
  }
  return [...(before ?? []), text];
}
