import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import { describeError } from '../errors.ts';
import { FLEET, type SubstrateObject } from '../substrate/substrate.ts';
import type { Reaped, Reconciler } from './reconciler.ts';

export interface ReapRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly reconciler: Pick<Reconciler, 'reap'>;
}

/** By so many characters of its id DECNET knows a topology in the names of its engine. */
const PREFIX = 8;

/** `POST /topologies/reap-orphans` (contract P3): removes at once what the reconciler would remove in its next pass. */
export function reapRoutes({ db, authenticator, reconciler }: ReapRouteParts) {
  return new Elysia().use(guard(authenticator, 'admin')).post('/topologies/reap-orphans', async () => {
    const rows = await db.selectFrom('topologies').select('id').execute();
    const { orphans, removed, errors } = await reconciler.reap().catch(notListed);
    return {
      live_prefixes: prefixesOf(rows.map(({ id }) => id)),
      orphan_prefixes: prefixesOf(orphans.map(({ topologyId }) => topologyId).filter((id) => id !== FLEET)),
      containers_removed: namesOf(removed, 'decky'),
      networks_removed: namesOf(removed, 'network'),
      errors,
    };
  });
}

/** An engine that cannot be asked is something to tell, not an error of the request. */
const notListed = (error: unknown): Reaped => ({ orphans: [], removed: [], errors: [describeError(error)] });

const prefixesOf = (ids: readonly string[]) => [...new Set(ids.map((id) => id.slice(0, PREFIX)))].sort();

const namesOf = (objects: readonly SubstrateObject[], wanted: SubstrateObject['kind']) =>
  objects.filter(({ kind }) => kind === wanted).map(({ name }) => name);
