import { AppError } from '../errors.ts';
import { isAccountToken } from './account-secret.ts';
import type { HeaderAuthenticator } from './guard.ts';
import type { Principal } from './principal.ts';
import { assertRole, type RoleGate } from './rights.ts';
import { isAccountSession, type ServiceAccounts } from './service-accounts.ts';
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
  readonly #accounts: Pick<ServiceAccounts, 'authenticate' | 'resume'> | undefined;

  /** @param accounts without it no service account is let in */
  constructor(tokens: Tokens, users: Users, accounts?: Pick<ServiceAccounts, 'authenticate' | 'resume'>) {
    this.#tokens = tokens;
    this.#users = users;
    this.#accounts = accounts;
  }

  /** Contract §4.1: the scheme is compared case-sensitively, and the token is all that follows it. */
  async authenticateHeader(authorization: string | undefined, options?: AuthenticateOptions): Promise<Principal> {
    const token = bearerToken(authorization);
    if (token === undefined) throw unauthenticated();
    return this.authenticateToken(token, options);
  }

  /**
   * @param token an access token, or one of a service account, from wherever it came
   * @throws {AppError} `unauthenticated` (the same for every cause) or `password_change_required`
   */
  async authenticateToken(token: string, options?: AuthenticateOptions): Promise<Principal> {
    if (isAccountToken(token)) return known(await this.#accounts?.authenticate(token));
    const session = await this.#tokens.verify(token, 'access');
    if (session === undefined || isAccountSession(session)) throw unauthenticated();
    return this.authenticateSession(session, options);
  }

  /**
   * @param session from a verified token or a redeemed ticket
   * @throws {AppError} as {@link authenticateToken}
   */
  async authenticateSession(session: Session, options: AuthenticateOptions = {}): Promise<Principal> {
    if (isAccountSession(session)) return known(await this.#accounts?.resume(session));
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
  async stillValid(principal: Principal, gate: RoleGate): Promise<boolean> {
    try {
      const now = await this.authenticateSession(principal);
      assertRole(now, gate);
      // What it opened with another role shows what that one may see.
      return now.role === principal.role;
    } catch (error) {
      if (error instanceof AppError) return false;
      throw error;
    }
  }
}

function known(principal: Principal | undefined): Principal {
  if (principal === undefined) throw unauthenticated();
  return principal;
}

/** @returns the token of an `Authorization` header, or undefined when there is none of the Bearer scheme */
export function bearerToken(authorization: string | null | undefined): string | undefined {
  return authorization?.startsWith(SCHEME) ? authorization.slice(SCHEME.length) : undefined;
}
