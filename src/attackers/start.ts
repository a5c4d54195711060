import type { Config } from '../config.ts';
import { engineOf } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import { FreshRows, type FreshRowsParts } from '../projection/fresh-rows.ts';
import { type AttackerRouteParts, attackerRoutes } from './routes.ts';

/** Attackers: addresses with all that is told of them. Their stream comes with the projections. */
export function startAttackers(
  parts: Omit<AttackerRouteParts, 'engine' | 'freshRows'> &
    FreshRowsParts & { readonly config: { readonly db: Pick<Config['db'], 'url'> } },
) {
  const { config, db, authenticator } = parts;
  const [engine, freshRows] = [engineOf(config.db.url), new FreshRows(parts)];
  return { routes: attackerRoutes({ db, engine, authenticator, freshRows }) } satisfies Domain;
}
