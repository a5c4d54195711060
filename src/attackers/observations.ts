import { type Insertable, sql } from 'kysely';
import { isJsonObject, type JsonObject } from '../bus/event.ts';
import type { Db, Trx } from '../db/database.ts';
import { keepFirst } from '../db/remove-some.ts';
import type { AttributionsTable, ObservationsTable } from '../db/schema.ts';
import { countOf, jsonText, numberOf, textOf } from '../projection/payload.ts';
import type { LoggedEvent } from '../projection/projection.ts';

export const OBSERVATION = 'attacker.observation.';
/** Primitives of one attacker or identity; some dozens are known. */
const MOST_PRIMITIVES = 200;
const STATES = ['unknown', 'stable', 'drifting', 'conflicted', 'multi_actor'];

/** The observation that `attacker.observation.<primitive>` tells of; `undefined` when it names nobody. */
export function observationOf({ id, topic, ts, payload }: LoggedEvent): Insertable<ObservationsTable> | undefined {
  const attacker_uuid = textOf(payload, 'attacker_uuid', 128);
  if (attacker_uuid === undefined || payload.value === undefined) return undefined;
  const window: JsonObject = isJsonObject(payload.window) ? payload.window : {};
  return {
    attacker_uuid,
    primitive: primitiveOf(topic, payload),
    id: textOf(payload, 'id', 128) ?? id,
    identity_ref: textOf(payload, 'identity_ref', 128) ?? null,
    value: jsonText(payload.value, 'null'),
    confidence: numberOf(payload, 'confidence') ?? 0,
    window_start_ts: numberOf(window, 'start_ts') ?? null,
    window_end_ts: numberOf(window, 'end_ts') ?? null,
    source: textOf(payload, 'source', 255) ?? '',
    evidence_ref: textOf(payload, 'evidence_ref', 255) ?? null,
    envelope_v: countOf(payload, 'v') ?? 1,
    ts: numberOf(payload, 'ts') ?? ts,
  };
}

/** What an observation is of: the payload says so, or the rest of its topic. */
export function primitiveOf(topic: string, payload: JsonObject): string {
  return textOf(payload, 'primitive', 255) ?? topic.slice(OBSERVATION.length);
}

/** Keeps the newest of each primitive. */
export async function saveObservation(trx: Trx, observation: Insertable<ObservationsTable>): Promise<void> {
  await trx
    .insertInto('observations')
    .values(observation)
    .onConflict((conflict) =>
      conflict
        .columns(['attacker_uuid', 'primitive'])
        .doUpdateSet(observation)
        .where(sql<boolean>`observations.ts <= ${observation.ts}`),
    )
    .execute();
  const only = sql<boolean>`attacker_uuid = ${observation.attacker_uuid}`;
  const rows = { table: 'observations', key: ['attacker_uuid', 'primitive'], only } as const;
  await keepFirst(trx, rows, sql`ts desc, primitive`, MOST_PRIMITIVES);
}

/** What `attribution.profile.state_changed` says; `undefined` for all other events. */
export function attributionOf({ topic, ts, payload }: LoggedEvent): Insertable<AttributionsTable> | undefined {
  const identity_uuid = textOf(payload, 'identity_uuid', 128);
  const primitive = textOf(payload, 'primitive', 255);
  const state = textOf(payload, 'new_state', 32);
  if (topic !== 'attribution.profile.state_changed' || identity_uuid === undefined) return undefined;
  if (primitive === undefined || state === undefined || !STATES.includes(state)) return undefined;
  const at = numberOf(payload, 'ts') ?? ts;
  return {
    identity_uuid,
    primitive,
    current_value: jsonText(payload.current_value, 'null'),
    state,
    confidence: numberOf(payload, 'confidence') ?? 0,
    observation_count: countOf(payload, 'observation_count') ?? 0,
    last_change_ts: at,
    last_observation_ts: at,
  };
}

export async function saveAttribution(trx: Trx, attribution: Insertable<AttributionsTable>): Promise<void> {
  await trx
    .insertInto('attributions')
    .values(attribution)
    .onConflict((conflict) => conflict.columns(['identity_uuid', 'primitive']).doUpdateSet(attribution))
    .execute();
  const only = sql<boolean>`identity_uuid = ${attribution.identity_uuid}`;
  const rows = { table: 'attributions', key: ['identity_uuid', 'primitive'], only } as const;
  await keepFirst(trx, rows, sql`last_change_ts desc, primitive`, MOST_PRIMITIVES);
}

/** The newest observation of each primitive, by primitive (contract §3.4). */
export async function latestObservations(db: Db | Trx, attackerUuid: string) {
  const rows = await db
    .selectFrom('observations')
    .select(['primitive', 'value', 'confidence', 'ts', 'source'])
    .where('attacker_uuid', '=', attackerUuid)
    .orderBy('primitive')
    .execute();
  return rows.map((row) => ({ ...row, value: JSON.parse(row.value) }));
}
