import { channelRevision } from '../bus/outbox.ts';
import { type Db, readConsistently } from '../db/database.ts';
import { knownPlace } from '../projection/snapshot.ts';
import type { Snapshot } from '../stream/snapshot.ts';
import { IDENTITY_PROJECTION } from './identity-projection.ts';
import { recentIdentities } from './repository.ts';

/** Contract §3.2. */
const MAX_IDENTITIES = 50;

/** The channel of the `identity.*` events. */
const IDENTITY_CHANNEL = 'identity';

/**
 * The snapshot that opens the identity stream: the identities updated last. Rows come in two ways: together with their
 * event, which has a revision, and out of the log, behind it. One transaction reads them, the revision of the channel and
 * the place of the projection, so that both are exactly those of the data.
 */
export function identitySnapshot(db: Db): Promise<Snapshot> {
  return readConsistently(db, async (trx) => {
    const identities = await recentIdentities(trx, { limit: MAX_IDENTITIES, offset: 0 });
    const revision = await channelRevision(trx, IDENTITY_CHANNEL);
    const contains = await knownPlace(trx, IDENTITY_PROJECTION, IDENTITY_CHANNEL);
    return { revision, data: { identities }, ...(contains === undefined ? {} : { contains }) };
  });
}
