import { topologyChannel } from '../bus/channel.ts';
import { compiled } from '../db/compiled.ts';
import type { Db } from '../db/database.ts';
import { isStorable } from '../db/storable.ts';
import { AppError } from '../errors.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { topologySnapshotSchema } from './schemas.ts';
import { topologySnapshot } from './snapshot.ts';

/** `GET /topologies/:id/events` (contract §3.1). */
export function topologyStream(db: Db): StreamDeclaration {
  const withId = compiled(db, db.selectFrom('topologies').select('id').where('id', '=', ''));
  return {
    name: 'topology',
    path: '/topologies/:id/events',
    channel: topologyChannel,
    eventName: topologyEventName,
    topics: ['topology.>', 'decky.>'],
    summary: 'Follow a topology: its mutations, its status, its deckies',
    snapshotSchema: topologySnapshotSchema,
    async assertExists(id) {
      if (!isStorable(id) || (await withId(id)).length === 0) throw notFound();
    },
    async snapshot(id) {
      const snapshot = await topologySnapshot(db, id);
      // Deleted between the check and here.
      if (snapshot === undefined) throw notFound();
      return snapshot;
    },
  };
}

/**
 * The topic without its first two tokens; `decky.` stays in front of a decky's. A topic of fewer than three tokens is its
 * own name.
 */
export function topologyEventName(topic: string): string {
  const [root, , ...tail] = topic.split('.');
  if (tail.length === 0) return topic;
  return root === 'decky' ? `decky.${tail.join('.')}` : tail.join('.');
}

function notFound(): AppError {
  return new AppError('not_found', 'Topology not found');
}
