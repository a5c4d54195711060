import type { JsonObject } from '../bus/event.ts';
import { channelRevision } from '../bus/outbox.ts';
import { type Db, readConsistently } from '../db/database.ts';
import { recentIdentities } from './repository.ts';

/** Contract §3.2. */
const MAX_IDENTITIES = 50;

/** The channel of the `identity.*` events. */
const IDENTITY_CHANNEL = 'identity';

/**
 * The snapshot that opens the identity stream: the identities updated last, with the revision of their channel. One
 * transaction reads both, so that the revision is exactly that of the data.
 */
export function identitySnapshot(db: Db): Promise<{ readonly revision: number; readonly data: JsonObject }> {
  return readConsistently(db, async (trx) => {
    const identities = await recentIdentities(trx, { limit: MAX_IDENTITIES, offset: 0 });
    const revision = await channelRevision(trx, IDENTITY_CHANNEL);
    return { revision, data: { identities: identities } };
  });
}
