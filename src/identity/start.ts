import type { Domain } from '../domain.ts';
import { FreshRows, type FreshRowsParts } from '../projection/fresh-rows.ts';
import { type IdentityRouteParts, identityRoutes } from './routes.ts';
import { identityStream } from './stream.ts';

/** Identities: attackers who were recognised as one. */
export function startIdentity(parts: Omit<IdentityRouteParts, 'freshRows'> & FreshRowsParts) {
  const { db, authenticator } = parts;
  const routes = identityRoutes({ db, authenticator, freshRows: new FreshRows(parts) });
  return { routes, streams: [identityStream(db)] } satisfies Domain;
}
