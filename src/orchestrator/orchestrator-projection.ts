import type { Insertable } from 'kysely';
import type { Trx } from '../db/database.ts';
import { removeSome } from '../db/remove-some.ts';
import type { OrchestratorEmailsTable, OrchestratorEventsTable } from '../db/schema.ts';
import { addToCounters } from '../projection/counters.ts';
import { isoOf, jsonText, textOf, timeOf } from '../projection/payload.ts';
import type { LoggedEvent, Projection } from '../projection/projection.ts';
import type { KeptRows } from '../projection/retention.ts';

type OrchestratorTable = 'orchestrator_events' | 'orchestrator_emails';

function keptIn(kind: 'actions' | 'emails', table: OrchestratorTable): KeptRows {
  return {
    kind,
    table,
    order: ['ts', 'uuid'],
    counter: table,
    async remove(trx: Trx, ids) {
      await trx.deleteFrom(table).where('uuid', 'in', ids.map(String)).execute();
      await addToCounters(trx, { [table]: -ids.length });
    },
  };
}

/** What the orchestrator did in the deckies (contract §1.3, §6.5). */
export const orchestratorProjection: Projection = {
  name: 'orchestrator',
  version: 1,
  topics: ['orchestrator.traffic.*', 'orchestrator.file.*', 'orchestrator.email.*'],
  channels: ['orchestrator'],
  kept: [keptIn('actions', 'orchestrator_events'), keptIn('emails', 'orchestrator_emails')],
  async apply(trx, events) {
    const actions = events.flatMap((event) => actionOf(event) ?? []);
    const emails = events.flatMap((event) => emailOf(event) ?? []);
    const insert = async (table: OrchestratorTable, rows: typeof actions | typeof emails) => {
      if (rows.length === 0) return 0;
      const query = trx
        .insertInto(table)
        .values(rows)
        .onConflict((conflict) => conflict.doNothing());
      return (await query.returning('uuid').execute()).length;
    };
    await addToCounters(trx, {
      orchestrator_events: await insert('orchestrator_events', actions),
      orchestrator_emails: await insert('orchestrator_emails', emails),
    });
    return events.length - actions.length - emails.length;
  },
  async clear(trx, most) {
    await trx.deleteFrom('counters').where('name', 'in', ['orchestrator_events', 'orchestrator_emails']).execute();
    return removeSome(
      trx,
      [
        { table: 'orchestrator_events', key: ['uuid'] },
        { table: 'orchestrator_emails', key: ['uuid'] },
      ],
      most,
    );
  },
};

function actionOf({ id, topic, ts, payload }: LoggedEvent): Insertable<OrchestratorEventsTable> | undefined {
  const [, kind, target = ''] = topic.split('.');
  const action = textOf(payload, 'action');
  if ((kind !== 'traffic' && kind !== 'file') || action === undefined) return undefined;
  return {
    uuid: id,
    ts: timeOf(payload, 'ts') ?? isoOf(ts),
    kind,
    protocol: textOf(payload, 'protocol', 64) ?? 'ssh',
    action,
    src_decky_uuid: textOf(payload, 'src_decky_uuid', 255) ?? null,
    dst_decky_uuid: textOf(payload, 'dst_decky_uuid', 255) ?? target,
    success: payload.success === true ? 1 : 0,
    payload: jsonText(payload.payload, '{}'),
  };
}

function emailOf({ id, topic, ts, payload }: LoggedEvent): Insertable<OrchestratorEmailsTable> | undefined {
  const [, kind, target = ''] = topic.split('.');
  const sender = textOf(payload, 'sender_email');
  const recipient = textOf(payload, 'recipient_email');
  if (kind !== 'email' || sender === undefined || recipient === undefined) return undefined;
  return {
    uuid: id,
    ts: timeOf(payload, 'ts') ?? isoOf(ts),
    mail_decky_uuid: textOf(payload, 'mail_decky_uuid', 255) ?? target,
    thread_id: textOf(payload, 'thread_id', 255) ?? '',
    message_id: textOf(payload, 'message_id', 255) ?? '',
    in_reply_to: textOf(payload, 'in_reply_to', 255) ?? null,
    sender_email: sender,
    recipient_email: recipient,
    subject: textOf(payload, 'subject') ?? '',
    language: textOf(payload, 'language', 32) ?? '',
    eml_path: null,
    success: payload.success === true ? 1 : 0,
    payload: jsonText(payload.payload, '{}'),
  };
}
