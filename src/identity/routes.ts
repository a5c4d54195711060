import { Elysia, t } from 'elysia';
import { ATTACKER_PROJECTION } from '../attackers/attacker-projection.ts';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import type { Db } from '../db/database.ts';
import type { IdentityRow } from '../db/schema.ts';
import { AppError } from '../errors.ts';
import type { FreshRows } from '../projection/fresh-rows.ts';
import { IDENTITY_PROJECTION } from './identity-projection.ts';
import { attackerOf } from './model.ts';
import { canonicalIdentity, countObservations, listIdentities, listObservations, type Page } from './repository.ts';
import { identityOperations } from './schemas.ts';

export interface IdentityRouteParts {
  readonly db: Db;
  readonly authenticator: HeaderAuthenticator;
  readonly freshRows: Pick<FreshRows, 'wait'>;
}

/** What the pages read again when they hear of an event: an identity's observations are attackers. */
const FOLLOWED = [
  { projection: IDENTITY_PROJECTION, channel: 'identity' },
  { projection: ATTACKER_PROJECTION, channel: 'identity' },
];

const page = t.Object({
  limit: t.Integer({ minimum: 1, maximum: 1000, default: 50 }),
  offset: t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 }),
});

/** Identities and their observations (contract §6.1). */
export function identityRoutes({ db, authenticator, freshRows }: IdentityRouteParts) {
  return new Elysia({ name: 'identity-routes' })
    .use(guard(authenticator, 'viewer'))
    .onBeforeHandle(() => freshRows.wait(FOLLOWED))
    .get('/identities', ({ query }) => listOnWire(db, query), { query: page, ...identityOperations.list })
    .get(
      '/identities/:uuid',
      async ({ params }) => detailOnWire(db, await existing(db, params.uuid)),
      identityOperations.read,
    )
    .get(
      '/identities/:uuid/observations',
      async ({ params, query }) => observationsOnWire(db, await existing(db, params.uuid), query),
      { query: page, ...identityOperations.observations },
    );
}

async function existing(db: Db, uuid: string): Promise<IdentityRow> {
  const identity = await canonicalIdentity(db, uuid);
  if (identity === undefined) throw new AppError('not_found', 'Identity not found');
  return identity;
}

async function listOnWire(db: Db, { limit, offset }: Page) {
  const { total, rows } = await listIdentities(db, { limit, offset });
  return { total, limit, offset, data: rows };
}

async function detailOnWire(db: Db, identity: IdentityRow) {
  return { ...identity, observation_count_live: await countObservations(db, identity.uuid) };
}

async function observationsOnWire(db: Db, identity: IdentityRow, { limit, offset }: Page) {
  const { total, rows } = await listObservations(db, identity.uuid, { limit, offset });
  return { total, limit, offset, data: rows.map(attackerOf) };
}
