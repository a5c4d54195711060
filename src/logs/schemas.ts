import { t } from 'elysia';
import { operation, type Parameter } from '../http/operation.ts';
import { integer, orNull, pageOf, ref, time } from '../http/schemas.ts';

const text = orNull(t.String());

export const logModels = {
  /** Contract §3.6. */
  LogLine: t.Object({
    id: t.Unsafe<number>({ ...integer, description: 'Rises with the log' }),
    timestamp: time,
    decky: t.String(),
    service: t.String(),
    event_type: t.String(),
    attacker_ip: t.String({ description: 'An address, or Unknown' }),
    raw_line: t.String(),
    fields: t.String({ description: 'JSON in a string' }),
    msg: text,
    trace_id: text,
    span_id: text,
  }),
  Stats: t.Object({
    total_logs: integer,
    unique_attackers: integer,
    active_deckies: integer,
    deployed_deckies: integer,
  }),
};

const SEARCH =
  'Words to be found, and decky:, service:, event:, attacker: or any field with a value; quotes keep blanks together';
const INCLUSIVE = 'Inclusive; UTC unless it names a zone, such as 2026-11-21 08:00:00';

/** What the stream reads of the query beside what every stream does. */
export const LOG_PARAMETERS: readonly Parameter[] = [
  { name: 'search', in: 'query', description: SEARCH },
  { name: 'start_time', in: 'query', description: INCLUSIVE },
  { name: 'end_time', in: 'query', description: INCLUSIVE },
  { name: 'lastEventId', in: 'query', description: 'The id of a line: begin with those after it, 1000 at most' },
];

export const logOperations = {
  stats: operation('readStats', {
    tag: 'logs',
    summary: 'Count lines, addresses and deckies',
    access: 'viewer',
    answers: { 200: ref('Stats') },
  }),
  list: operation('listLogs', {
    tag: 'logs',
    summary: 'List or search lines, the newest first',
    description: `search: ${SEARCH}. What a search finds beyond what is kept counted is counted up to a limit.`,
    access: 'viewer',
    answers: { 200: pageOf(ref('LogLine')) },
    refuses: [422],
  }),
  histogram: operation('readLogHistogram', {
    tag: 'logs',
    summary: 'Count lines by stretches of time, leaving out those without any',
    access: 'viewer',
    answers: {
      200: t.Array(t.Object({ time: t.String({ description: 'Begin, in UTC: YYYY-MM-DD HH:MM:SS' }), count: integer })),
    },
    refuses: [422],
  }),
};

const prev = t.Optional(t.String({ description: 'The id before, where ids are not consecutive' }));
const typed = (type: string) => t.Unsafe<string>({ const: type });

/** Every frame of the stream: lines, or statistics. */
export const logFrameSchema = t.Union([
  t.Object({ prev, type: typed('logs'), data: t.Array(ref('LogLine')) }),
  t.Object({ prev, type: typed('stats'), data: ref('Stats') }),
]);
