import { Elysia } from 'elysia';
import type { Principal } from './principal.ts';
import { assertRole, type RoleGate } from './rights.ts';

/** Turns the `Authorization` header of a request into who is asking. */
export interface HeaderAuthenticator {
  /**
   * @param authorization the header as it came
   * @throws {AppError} `unauthenticated` or, unless allowed, `password_change_required`
   */
  authenticateHeader(
    authorization: string | undefined,
    options?: { allowPasswordChange?: boolean },
  ): Promise<Principal>;
}

/**
 * A gate in front of every route declared after it in the same plugin; the routes find `principal` in their context.
 * It runs once the body has been parsed and before it is checked against the schema (contract §4.2).
 * @param options.allowPasswordChange lets in users who have yet to change their password; default false
 */
export function guard(
  authenticator: HeaderAuthenticator,
  gate: RoleGate,
  options: { allowPasswordChange?: boolean } = {},
) {
  const seed = { gate, ...options };
  return new Elysia({ name: 'guard', seed }).derive({ as: 'scoped' }, async ({ request }) => {
    // Not Elysia's `headers`: that is an object of all of them.
    const authorization = request.headers.get('authorization') ?? undefined;
    const principal = await authenticator.authenticateHeader(authorization, options);
    assertRole(principal, gate);
    return { principal };
  });
}
