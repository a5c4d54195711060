import { jwt } from '@elysiajs/jwt';
import { Elysia } from 'elysia';
import { AppError } from '../errors.ts';

/** Signatures that are remembered; each costs about a kilobyte. */
const MOST_VERIFIED = 5000;

const ISSUER = 'decnet';
const AUDIENCE = 'decnet-dashboard';

/** What a token may be used for: `access` in a header or `?token=`, `stream` only as the stream cookie (design, Auth). */
export type TokenUse = 'access' | 'stream';

/** The login that a token stands for. */
export interface Session {
  readonly userUuid: string;
  /** Names the login; a token of it is refused once this is denylisted. */
  readonly jti: string;
  /** Seconds since the epoch. */
  readonly issuedAt: number;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /**
   * The {@link generationOf} the user's credentials at the login. Times cannot order a login and a change of the same
   * second, or of two nodes; this can. Missing in tokens that something else has issued: contract §4.1 has no such claim.
   */
  readonly generation?: number | undefined;
}

/**
 * Changes whenever all sessions of a user end: by a change of password or role.
 * @param tokensValidFrom of the user's row
 */
export function generationOf(tokensValidFrom: string | null): number {
  return tokensValidFrom === null ? 0 : Date.parse(tokensValidFrom);
}

/**
 * Whether all sessions of the user have ended since this one began. Contract §4.1 compares whole seconds, as `iat` has no
 * more; that alone would let a session of the same second live on.
 * @param tokensValidFrom of the user's row
 */
export function isOutdated({ issuedAt, generation }: Session, tokensValidFrom: string | null): boolean {
  const current = generationOf(tokensValidFrom);
  return generation === undefined ? issuedAt < Math.floor(current / 1000) : generation !== current;
}

/** The one answer to every credential that is not accepted: it must not tell an attacker why. */
export function unauthenticated(): AppError {
  return new AppError('unauthenticated', 'Could not validate credentials');
}

/** Signs and verifies the tokens of contract §4.1, by `@elysiajs/jwt` with everything pinned that it leaves open. */
export class Tokens {
  readonly #jwt;
  /** Signatures that were found good. That a session has ended is not in a token, and is asked elsewhere each time. */
  readonly #verified = new Map<string, Session>();
  readonly #ttlSeconds: number;

  /**
   * @param options.secret the HS256 key; its length is checked where the configuration is read
   * @param options.ttlSeconds life of an access token
   */
  constructor(options: { readonly secret: string; readonly ttlSeconds: number }) {
    // The plugin offers its functions only as a decoration of the request context; nothing is served here.
    this.#jwt = new Elysia().use(jwt({ name: 'jwt', secret: options.secret, alg: 'HS256' })).decorator.jwt;
    this.#ttlSeconds = options.ttlSeconds;
  }

  /**
   * Begins a login session: an access token with a `jti` of its own. Role and name stay out; they may change.
   * @param generation as it was when the password was found to be right, see {@link Session}
   */
  issueAccess(userUuid: string, generation?: number): Promise<string> {
    const expires = Math.floor(Date.now() / 1000) + this.#ttlSeconds;
    const jti = crypto.randomUUID().replaceAll('-', '');
    return this.#sign('access', userUuid, jti, expires, generation === undefined ? {} : { gen: generation });
  }

  /** A token that proves only that its bearer once redeemed a ticket of this session. Ends with the session. */
  issueStream(session: Pick<Session, 'userUuid' | 'jti' | 'expiresAt'>): Promise<string> {
    return this.#sign('stream', session.userUuid, session.jti, Math.floor(session.expiresAt / 1000));
  }

  /** @returns undefined for a token that is forged, expired, incomplete or meant for another use, without saying which */
  async verify(token: string, use: TokenUse): Promise<Session | undefined> {
    const key = `${use} ${token}`;
    const known = this.#verified.get(key);
    if (known !== undefined && known.expiresAt > Date.now()) return known;
    const session = await this.#verify(token, use);
    if (session === undefined) return undefined;
    // The oldest goes: a token costs more than a map entry only where it is used again.
    if (this.#verified.size >= MOST_VERIFIED) this.#verified.delete(this.#verified.keys().next().value ?? '');
    this.#verified.set(key, session);
    return session;
  }

  async #verify(token: string, use: TokenUse): Promise<Session | undefined> {
    // Without these options the plugin accepts any HMAC algorithm, issuer and audience, and a token without `exp`.
    const claims = await this.#jwt.verify(token, {
      algorithms: ['HS256'],
      issuer: ISSUER,
      audience: AUDIENCE,
      requiredClaims: ['exp', 'iat', 'iss', 'aud', 'uuid'],
    });
    if (claims === false || claims.typ !== use) return undefined;
    const { uuid, jti, iat, exp, gen } = claims;
    if (typeof uuid !== 'string' || typeof jti !== 'string' || jti === '') return undefined;
    if (typeof iat !== 'number' || typeof exp !== 'number') return undefined;
    if (gen !== undefined && typeof gen !== 'number') return undefined;
    return { userUuid: uuid, jti, issuedAt: iat, expiresAt: exp * 1000, generation: gen };
  }

  #sign(typ: TokenUse, uuid: string, jti: string, exp: number, more: { gen?: number } = {}): Promise<string> {
    return this.#jwt.sign({ uuid, typ, jti, exp, ...more, iss: ISSUER, aud: AUDIENCE });
  }
}
