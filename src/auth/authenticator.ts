import { AppError } from '../errors.ts';
import { assertRole, type HeaderAuthenticator } from './guard.ts';
import type { Principal, Role } from './principal.ts';
import { isOutdated, type Session, type Tokens, unauthenticated } from './tokens.ts';
import type { Users } from './users.ts';

const SCHEME = 'Bearer ';

export interface AuthenticateOptions {
  /** Lets in a user who has yet to change the password; default false. */
  readonly allowPasswordChange?: boolean;
}

/**
 * Says who a token stands for. The database is asked each time (one indexed query): a cache would let a revoked session
 * live on.
 */
export class Authenticator implements HeaderAuthenticator {
  readonly #tokens: Tokens;
  readonly #users: Users;

  constructor(tokens: Tokens, users: Users) {
    this.#tokens = tokens;
    this.#users = users;
  }

  /** Contract §4.1: the scheme is compared case-sensitively, and the token is all that follows it. */
  async authenticateHeader(authorization: string | undefined, options?: AuthenticateOptions): Promise<Principal> {
    const token = bearerToken(authorization);
    if (token === undefined) throw unauthenticated();
    return this.authenticateToken(token, options);
  }

  /**
   * @param token an access token, from wherever it came
   * @throws {AppError} `unauthenticated` (the same for every cause) or `password_change_required`
   */
  async authenticateToken(token: string, options?: AuthenticateOptions): Promise<Principal> {
    const session = await this.#tokens.verify(token, 'access');
    if (session === undefined) throw unauthenticated();
    return this.authenticateSession(session, options);
  }

  /**
   * @param session from a verified token or a redeemed ticket
   * @throws {AppError} as {@link authenticateToken}
   */
  async authenticateSession(session: Session, options: AuthenticateOptions = {}): Promise<Principal> {
    const { userUuid, jti, issuedAt, expiresAt, generation } = session;
    const user = expiresAt > Date.now() ? await this.#users.findSessionUser(session) : undefined;
    if (user === undefined || user.revoked || isOutdated(session, user.tokens_valid_from)) throw unauthenticated();
    if (user.must_change_password === 1 && options.allowPasswordChange !== true) {
      throw new AppError('password_change_required', 'Password change required before accessing this resource');
    }
    return { userUuid, username: user.username, role: user.role, jti, issuedAt, expiresAt, generation };
  }

  /**
   * Whether an open stream may go on: all that let it in still holds, by the database as it is now.
   * @throws when the database cannot be asked; that says nothing about the session
   */
  async stillValid(principal: Principal, gate: Role): Promise<boolean> {
    try {
      assertRole(await this.authenticateSession(principal), gate);
      return true;
    } catch (error) {
      if (error instanceof AppError) return false;
      throw error;
    }
  }
}

/** @returns the token of an `Authorization` header, or undefined when there is none of the Bearer scheme */
export function bearerToken(authorization: string | null | undefined): string | undefined {
  return authorization?.startsWith(SCHEME) ? authorization.slice(SCHEME.length) : undefined;
}
