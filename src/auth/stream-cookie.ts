import type { Session, Tokens } from './tokens.ts';

const COOKIE = 'decnet_stream';
const PATH = '/api/v1';

/**
 * The `Set-Cookie` value that lets a browser use a spent ticket of this session again (design, Auth). The cookie opens
 * nothing by itself, so a foreign site gains nothing by making a browser send it.
 * @param request the one that redeemed the ticket; it tells whether the browser came by https
 */
export async function streamCookie(tokens: Tokens, session: Session, request: Request): Promise<string> {
  return new Bun.Cookie(COOKIE, await tokens.issueStream(session), {
    httpOnly: true,
    sameSite: 'strict',
    path: PATH,
    maxAge: Math.max(0, Math.floor((session.expiresAt - Date.now()) / 1000)),
    secure: cameByHttps(request),
  }).serialize();
}

/** Whether the request carries the cookie of exactly this session. */
export async function hasStreamCookie(tokens: Tokens, session: Session, request: Request): Promise<boolean> {
  const value = new Bun.CookieMap(request.headers.get('cookie') ?? '').get(COOKIE);
  if (value === null) return false;
  const holder = await tokens.verify(value, 'stream');
  return holder !== undefined && holder.jti === session.jti && holder.userUuid === session.userUuid;
}

/** Believing `x-forwarded-proto` from anybody is safe here: a client that lies only makes its own cookie `Secure`. */
function cameByHttps(request: Request): boolean {
  const [forwarded = ''] = (request.headers.get('x-forwarded-proto') ?? '').split(',');
  return forwarded.trim().toLowerCase() === 'https' || new URL(request.url).protocol === 'https:';
}
