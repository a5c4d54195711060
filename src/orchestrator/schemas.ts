import { t } from 'elysia';
import { oneOf, orNull, ref, time } from '../http/schemas.ts';

export const orchestratorModels = {
  /** Contract §6.5. */
  OrchestratorEvent: t.Object({
    uuid: t.String(),
    ts: time,
    kind: oneOf(['traffic', 'file']),
    protocol: t.String(),
    action: t.String(),
    src_decky_uuid: orNull(t.String()),
    dst_decky_uuid: t.String(),
    success: t.Boolean(),
    payload: t.String({ description: 'JSON in a string' }),
  }),
};

/** What opens the stream of the orchestrator. */
export const orchestratorSnapshotSchema = t.Object({
  events: t.Array(ref('OrchestratorEvent'), { maxItems: 50, description: 'The newest first' }),
});
