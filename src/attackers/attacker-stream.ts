import { LOG_CHANNEL } from '../bus/channel.ts';
import type { Entry } from '../bus/entry.ts';
import { eventOf } from '../bus/logged-event.ts';
import type { Db } from '../db/database.ts';
import { textOf } from '../projection/payload.ts';
import { projectedSnapshot } from '../projection/snapshot.ts';
import type { StreamDeclaration } from '../stream/declaration.ts';
import { ATTACKER_PROJECTION } from './attacker-projection.ts';
import { attackerCalled, type Called } from './called.ts';
import { latestObservations, OBSERVATION, primitiveOf } from './observations.ts';
import { attackerSnapshotSchema } from './schemas.ts';

const TOPICS = ['attacker.observation.>', 'attacker.fingerprint_rotated', 'attacker.scored', 'attribution.>'];

/** `GET /attackers/{uuid}/events` (contract §3.4): events of two families, so it reads the log. */
export function attackerStream(db: Db): StreamDeclaration {
  return {
    name: 'attacker',
    path: '/attackers/:id/events',
    channel: () => LOG_CHANNEL,
    eventName: nameOf,
    topics: TOPICS,
    summary: 'Follow one attacker: observations, scores, attribution',
    snapshotSchema: attackerSnapshotSchema,
    async narrow(uuid) {
      // The identity is that of the opening (contract §3.4).
      const attacker = await attackerCalled(db, uuid);
      return {
        key: encodeURIComponent(JSON.stringify(attacker)),
        picks: (entry) => concerns(entry, attacker),
        dataOf: observationData,
        snapshot: () =>
          projectedSnapshot(db, ATTACKER_PROJECTION, LOG_CHANNEL, async (trx) => ({
            attacker_uuid: uuid,
            observations: await latestObservations(trx, attacker.uuid),
          })),
      };
    },
  };
}

function concerns(entry: Entry, { uuid, ip, identity }: Called): boolean {
  const { payload } = eventOf(entry);
  if (entry.topic.startsWith('attribution.')) return identity !== null && payload.identity_uuid === identity;
  // DECNET's profiler tells of a score under the address alone.
  return payload.attacker_uuid === undefined ? payload.attacker_ip === ip : payload.attacker_uuid === uuid;
}

/** Pages sort observations by their primitive, and go blank at one without: then the topic names it, as it does for rows. */
function observationData(entry: Entry): string {
  const { ts, type, payload } = eventOf(entry);
  if (!entry.topic.startsWith(OBSERVATION) || textOf(payload, 'primitive') !== undefined) return entry.data;
  const primitive = primitiveOf(entry.topic, payload);
  return JSON.stringify({ topic: entry.topic, type, ts, payload: { ...payload, primitive } });
}

function nameOf(topic: string): string {
  if (topic.startsWith(OBSERVATION)) return 'observation';
  if (topic === 'attacker.fingerprint_rotated') return 'fingerprint.rotated';
  const [, profile, ...rest] = topic.split('.');
  return topic.startsWith('attribution.') && profile === 'profile' ? `attribution.${rest.join('.')}` : topic;
}
