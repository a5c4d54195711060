import { AppError } from '../errors.ts';

const NAME = /^[a-z0-9-]{1,64}$/;

/** @throws {AppError} `invalid` for a path that names no decky */
export function deckyNameIn(name: string | null): string {
  if (name !== null && NAME.test(name)) return name;
  throw new AppError('invalid', 'a decky name is 1 to 64 of a-z, 0-9 and -');
}
