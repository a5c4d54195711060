import type { Db } from '../db/database.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { identitySnapshotSchema } from './schemas.ts';
import { identitySnapshot } from './snapshot.ts';

/** `GET /identities/events` (contract §3.2). */
export function identityStream(db: Db): StreamDeclaration {
  return {
    name: 'identity',
    path: '/identities/events',
    channel: () => 'identity',
    eventName: (topic) => topic.slice('identity.'.length) || topic,
    topics: ['identity.>'],
    summary: 'Follow what becomes known of identities',
    snapshotSchema: identitySnapshotSchema,
    snapshot: () => identitySnapshot(db),
  };
}
