import type { Domain } from '../domain.ts';
import { type IdentityRouteParts, identityRoutes } from './routes.ts';
import { identityStream } from './stream.ts';

/** Identities: attackers who were recognised as one. */
export function startIdentity({ db, authenticator }: IdentityRouteParts) {
  return { routes: identityRoutes({ db, authenticator }), streams: [identityStream(db)] } satisfies Domain;
}
