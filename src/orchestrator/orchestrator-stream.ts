import type { Db } from '../db/database.ts';
import { projectedSnapshot } from '../projection/snapshot.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { orchestratorProjection } from './orchestrator-projection.ts';
import { recentActions } from './repository.ts';

const CHANNEL = 'orchestrator';
const TOPICS = ['orchestrator.>'];
/** Contract §3.5. */
const MAX_EVENTS = 50;

/** `GET /orchestrator/events/stream` (contract §3.5). */
export function orchestratorStream(db: Db): StreamDeclaration {
  return {
    name: 'orchestrator',
    path: '/orchestrator/events/stream',
    channel: () => CHANNEL,
    eventName: (topic) => topic.split('.')[1] || topic,
    topics: TOPICS,
    snapshot: () =>
      projectedSnapshot(db, orchestratorProjection.name, CHANNEL, async (trx) => ({
        events: await recentActions(trx, { limit: MAX_EVENTS, offset: 0 }),
      })),
  };
}
