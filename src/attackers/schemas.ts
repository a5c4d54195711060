import { t } from 'elysia';
import { json, ref } from '../http/schemas.ts';

export const attackerModels = {
  /** Contract §6.4: the newest of its primitive. */
  Observation: t.Object({
    primitive: t.String(),
    value: json,
    confidence: t.Number(),
    ts: t.Number({ description: 'Seconds since the epoch' }),
    source: t.String(),
  }),
};

/** What opens the stream of an attacker. */
export const attackerSnapshotSchema = t.Object({
  attacker_uuid: t.String(),
  observations: t.Array(ref('Observation'), { description: 'By primitive' }),
});
