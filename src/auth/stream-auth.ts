import { type Authenticator, bearerToken } from './authenticator.ts';
import type { Principal } from './principal.ts';
import { hasStreamCookie, streamCookie } from './stream-cookie.ts';
import type { Tickets } from './tickets.ts';
import { type Tokens, unauthenticated } from './tokens.ts';

export interface StreamCredentials {
  readonly principal: Principal;
  /** To be sent as `Set-Cookie` with the stream. */
  readonly setCookie?: string;
}

export interface StreamAuthenticatorParts {
  readonly authenticator: Authenticator;
  readonly tickets: Tickets;
  readonly tokens: Tokens;
  /** Accept `?token=<JWT>`. */
  readonly queryToken: boolean;
}

/** Says who opens a stream. A browser's EventSource can set no header, so the query may carry the credential. */
export class StreamAuthenticator {
  readonly #parts: StreamAuthenticatorParts;

  constructor(parts: StreamAuthenticatorParts) {
    this.#parts = parts;
  }

  /**
   * The first credential that is present decides, in the order header, `?ticket=`, `?token=`; a ticket beside a header
   * is not used up. The caller checks the role.
   * @throws {AppError} `unauthenticated`, `password_change_required`, or `unavailable` when Redis cannot be asked
   */
  async authenticateStream(request: Request): Promise<StreamCredentials> {
    const { authenticator, queryToken } = this.#parts;
    const authorization = request.headers.get('authorization');
    if (authorization !== null && bearerToken(authorization) !== undefined) {
      return { principal: await authenticator.authenticateHeader(authorization) };
    }
    const query = new URL(request.url).searchParams;
    const ticket = query.get('ticket');
    if (ticket !== null) return this.#byTicket(ticket, request);
    const token = query.get('token');
    if (token === null || !queryToken) throw unauthenticated();
    return { principal: await authenticator.authenticateToken(token) };
  }

  async #byTicket(ticket: string, request: Request): Promise<StreamCredentials> {
    const { authenticator, tickets, tokens } = this.#parts;
    const redemption = await tickets.redeem(ticket);
    if (redemption === undefined) throw unauthenticated();
    const { session, spent } = redemption;
    // The URL of a spent ticket may be in a log or a history; only the browser that redeemed it has the cookie too.
    if (spent && !(await hasStreamCookie(tokens, session, request))) throw unauthenticated();
    const principal = await authenticator.authenticateSession(session);
    return spent ? { principal } : { principal, setCookie: await streamCookie(tokens, session, request) };
  }
}
