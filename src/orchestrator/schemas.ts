import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, oneOf, orNull, pageOf, ref, time } from '../http/schemas.ts';

const action = {
  uuid: t.String(),
  ts: time,
  protocol: t.String(),
  action: t.String(),
  src_decky_uuid: orNull(t.String()),
  dst_decky_uuid: t.String(),
  success: t.Boolean(),
  payload: t.String({ description: 'JSON in a string, as DECNET has it' }),
};

export const orchestratorModels = {
  OrchestratorAction: t.Object({ ...action, kind: oneOf(['traffic', 'file']) }),
  OrchestratorEmail: t.Object({
    ...action,
    kind: t.Literal('email'),
    subject: t.String(),
    sender_email: t.String(),
    recipient_email: t.String(),
    language: t.String(),
    thread_id: t.String(),
    mail_decky_uuid: t.String(),
    message_id: t.String(),
    in_reply_to: orNull(t.String()),
  }),
};

export const orchestratorOperations = {
  list: operation('listOrchestratorEvents', {
    tag: 'orchestrator',
    summary: 'List what the orchestrator did, the newest first; mail only where its kind is asked for',
    access: 'viewer',
    answers: { 200: pageOf(t.Union([ref('OrchestratorAction'), ref('OrchestratorEmail')])) },
    refuses: [422],
  }),
  stats: operation('countOrchestratorFailures', {
    tag: 'orchestrator',
    summary: 'Count what failed since a while ago: 1h by default, 7d at most',
    access: 'viewer',
    answers: {
      200: t.Object({
        since: t.String(),
        success: t.Literal(false),
        kind: orNull(oneOf(['traffic', 'file', 'email'])),
        count: integer,
      }),
    },
    refuses: [422],
  }),
};

/** What opens the stream of the orchestrator. */
export const orchestratorSnapshotSchema = t.Object({
  events: t.Array(ref('OrchestratorAction'), { maxItems: 50 }),
});
