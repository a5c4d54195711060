import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { integer, orNull, pageOf, ref, time } from '../http/schemas.ts';

const text = orNull(t.String());

export const logModels = {
  /** One line of a decky's log. */
  LogLine: t.Object({
    id: integer,
    timestamp: time,
    decky: t.String(),
    service: t.String(),
    event_type: t.String(),
    attacker_ip: t.String(),
    raw_line: t.String(),
    fields: t.String({ description: 'JSON in a string, as DECNET has it' }),
    msg: text,
    trace_id: text,
    span_id: text,
  }),
};

const stats = t.Object({
  total_logs: integer,
  unique_attackers: integer,
  active_deckies: integer,
  deployed_deckies: integer,
});
const bucket = t.Object({ time: t.String({ description: 'YYYY-MM-DD HH:MM:SS, in UTC' }), count: integer });

export const logOperations = {
  stats: operation('readStats', {
    tag: 'logs',
    summary: 'Read how many lines, addresses and deckies there are',
    access: 'viewer',
    answers: { 200: stats },
  }),
  list: operation('listLogs', {
    tag: 'logs',
    summary: 'List the lines of the deckies’ logs, or those that a search finds, the newest first',
    access: 'viewer',
    answers: { 200: pageOf(ref('LogLine')) },
    refuses: [422],
  }),
  histogram: operation('readLogHistogram', {
    tag: 'logs',
    summary: 'Count lines by stretches of time; those without any are left out',
    access: 'viewer',
    answers: { 200: t.Array(bucket) },
    refuses: [422],
  }),
};
