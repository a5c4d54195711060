import { jwt } from '@elysiajs/jwt';
import { Elysia } from 'elysia';

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
}

/** Signs and verifies the tokens of contract §4.1, by `@elysiajs/jwt` with everything pinned that it leaves open. */
export class Tokens {
  readonly #jwt;
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

  /** Begins a login session: an access token with a `jti` of its own. Role and name stay out; they may change. */
  issueAccess(userUuid: string): Promise<string> {
    const expires = Math.floor(Date.now() / 1000) + this.#ttlSeconds;
    return this.#sign('access', userUuid, crypto.randomUUID().replaceAll('-', ''), expires);
  }

  /** A token that proves only that its bearer once redeemed a ticket of this session. Ends with the session. */
  issueStream(session: Pick<Session, 'userUuid' | 'jti' | 'expiresAt'>): Promise<string> {
    return this.#sign('stream', session.userUuid, session.jti, Math.floor(session.expiresAt / 1000));
  }

  /** @returns undefined for a token that is forged, expired, incomplete or meant for another use, without saying which */
  async verify(token: string, use: TokenUse): Promise<Session | undefined> {
    // Without these options the plugin accepts any HMAC algorithm, issuer and audience, and a token without `exp`.
    const claims = await this.#jwt.verify(token, {
      algorithms: ['HS256'],
      issuer: ISSUER,
      audience: AUDIENCE,
      requiredClaims: ['exp', 'iat', 'iss', 'aud', 'uuid'],
    });
    if (claims === false || claims.typ !== use) return undefined;
    const { uuid, jti, iat, exp } = claims;
    if (typeof uuid !== 'string' || typeof jti !== 'string' || jti === '') return undefined;
    if (typeof iat !== 'number' || typeof exp !== 'number') return undefined;
    return { userUuid: uuid, jti, issuedAt: iat, expiresAt: exp * 1000 };
  }

  #sign(typ: TokenUse, uuid: string, jti: string, exp: number): Promise<string> {
    return this.#jwt.sign({ uuid, typ, jti, exp, iss: ISSUER, aud: AUDIENCE });
  }
}
