import { timingSafeEqual } from 'node:crypto';

/** Says at first sight, to people and to secret scanners, what it is. */
const PREFIX = 'dls_';
const SECRET_BYTES = 32;
const FORM = /^dls_([0-9a-f-]{36})_([\w-]{43})$/;

/** What a token of a service account consists of. */
export interface AccountToken {
  readonly uuid: string;
  /** Of its secret; only this is stored. */
  readonly hash: string;
}

/** True for what can only be a token of a service account, right or wrong. */
export function isAccountToken(token: string): boolean {
  return token.startsWith(PREFIX);
}

/**
 * A new token: `dls_<uuid>_<secret>`. The secret is 256 random bits, so nobody finds it by trying, with the hash or without:
 * a slow hash such as that of passwords would protect nothing and cost 30 ms at each request.
 */
export function mintAccountToken(uuid: string): AccountToken & { readonly token: string } {
  const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(SECRET_BYTES))).toString('base64url');
  return { uuid, hash: hashOf(secret), token: `${PREFIX}${uuid}_${secret}` };
}

/** @returns `undefined` for what has not the form of a token */
export function parseAccountToken(token: string): AccountToken | undefined {
  const [, uuid, secret] = FORM.exec(token) ?? [];
  return uuid === undefined || secret === undefined ? undefined : { uuid, hash: hashOf(secret) };
}

/** Takes the same time whatever differs, and also when there is nothing to compare with. */
export function isSameHash(hash: string, stored: string | null | undefined): boolean {
  const isSame = timingSafeEqual(Buffer.from(hash), Buffer.from(stored ?? NO_HASH));
  return isSame && stored !== null && stored !== undefined;
}

const NO_HASH = '0'.repeat(64);

function hashOf(secret: string): string {
  return new Bun.CryptoHasher('sha256').update(secret).digest('hex');
}
