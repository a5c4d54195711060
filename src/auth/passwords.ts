import { t } from 'elysia';
import { AppError } from '../errors.ts';

// OWASP's smallest setting for argon2id (19 MiB, two passes): a burst of logins must not exhaust the node's memory.
const HASHING = { algorithm: 'argon2id', memoryCost: 19_456, timeCost: 2 } as const;

const MIN_LENGTH = 12;
const MAX_LENGTH = 72;
const MAX_BYTES = 72;

/** Schema of a password that is only compared (contract §4.3). */
export const currentPassword = t.String({ maxLength: MAX_LENGTH });
/** Schema of a password that is being set; {@link assertNewPassword} checks the rest. */
export const newPassword = t.String({ maxLength: MAX_LENGTH, description: `At least ${MIN_LENGTH} characters` });

/** @param password must have passed {@link assertNewPassword} */
export function hashPassword(password: string): Promise<string> {
  return Bun.password.hash(password, HASHING);
}

/** Verified in place of the hash of a user who does not exist, so that an answer's time does not tell who does. */
const decoyHash = hashPassword(crypto.randomUUID());

/**
 * Takes the same time whether the user exists or not.
 * @param hash undefined for an unknown user: the answer is false
 */
export async function verifyPassword(password: string, hash: string | undefined): Promise<boolean> {
  const matches = await Bun.password.verify(password, hash ?? (await decoyHash));
  return matches && hash !== undefined;
}

/**
 * DECNET's form for a new password lets shorter ones through, and shows what is answered: that has to say what is wanted.
 * @throws {AppError} `bad_request`, `invalid`
 */
export function assertNewPassword(password: string): void {
  if (password.length < MIN_LENGTH) {
    throw new AppError('bad_request', `A new password needs at least ${MIN_LENGTH} characters`);
  }
  assertPasswordBytes(password);
}

/**
 * The schema counts characters; contract §4.3 also bounds the UTF-8 bytes.
 * @throws {AppError} `invalid`
 */
export function assertPasswordBytes(...passwords: readonly string[]): void {
  if (passwords.some((password) => Buffer.byteLength(password) > MAX_BYTES)) {
    throw new AppError('invalid', `A password may have at most ${MAX_BYTES} bytes in UTF-8`);
  }
}
