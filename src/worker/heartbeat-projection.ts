import { sql } from 'kysely';
import { removeSome } from '../db/remove-some.ts';
import type { WorkerHeartbeatsTable } from '../db/schema.ts';
import { jsonText, numberOf } from '../projection/payload.ts';
import type { LoggedEvent, Projection } from '../projection/projection.ts';

/** The workers that DECNET knows, in its order (contract §8). Heartbeats of others are not counted. */
export const KNOWN_WORKERS = [
  'api',
  'bus',
  'collector',
  'profiler',
  'sniffer',
  'prober',
  'mutator',
  'reconciler',
  'reuse-correlator',
  'attribution',
  'enrich',
  'clusterer',
  'campaign-clusterer',
  'ttp',
  'webhook',
  'orchestrator',
  'agent',
  'forwarder',
  'updater',
] as const;

/** When each worker was last heard of. The topic says who it is, whatever the payload claims. */
export const heartbeatProjection: Projection = {
  name: 'workers',
  version: 1,
  topics: ['system.*.health'],
  channels: [],
  async apply(trx, events) {
    const newest = new Map<string, WorkerHeartbeatsTable>();
    let skipped = 0;
    for (const event of events) {
      const beat = heartbeatOf(event);
      if (beat === undefined) skipped += 1;
      else if (beat.ts >= (newest.get(beat.name)?.ts ?? 0)) newest.set(beat.name, beat);
    }
    if (newest.size > 0) {
      await trx
        .insertInto('worker_heartbeats')
        .values([...newest.values()])
        .onConflict((conflict) =>
          conflict
            .column('name')
            .doUpdateSet({ ts: sql<number>`excluded.ts`, extra: sql<string>`excluded.extra` })
            .where(sql<boolean>`worker_heartbeats.ts <= excluded.ts`),
        )
        .execute();
    }
    return skipped;
  },
  clear: (trx, most) => removeSome(trx, [{ table: 'worker_heartbeats', key: ['name'] }], most),
};

function heartbeatOf({ topic, ts, payload }: LoggedEvent): WorkerHeartbeatsTable | undefined {
  const name = topic.split('.')[1] ?? '';
  if (!KNOWN_WORKERS.some((known) => known === name)) return undefined;
  const { worker: _, ts: __, ...extra } = payload;
  const told = numberOf(payload, 'ts') ?? ts;
  // A worker cannot have been alive later than it was heard: a clock gone wrong would make it live for ever.
  return { name, ts: Math.min(told, ts), extra: jsonText(extra, '{}') };
}
