import { t } from 'elysia';
import { operation } from '../http/operation.ts';
import { jsonObject, oneOf, orNull, ref } from '../http/schemas.ts';
import { KNOWN_WORKERS } from '../worker/heartbeat-projection.ts';

const name = oneOf(KNOWN_WORKERS);
const accepted = (action: string) =>
  t.Object({ accepted: t.Boolean(), worker: name, action: t.Unsafe<string>({ const: action }) });

export const workerModels = {
  /** Contract P4.1. */
  Worker: t.Object({
    name,
    status: oneOf(['ok', 'stale', 'unknown']),
    last_heartbeat_ts: orNull(t.Number({ description: 'Seconds since the epoch' })),
    seconds_since: orNull(t.Number()),
    extra: jsonObject,
    installed: t.Boolean({ description: 'This process can start it' }),
  }),
};

export const workerOperations = {
  list: operation('listWorkers', {
    tag: 'workers',
    summary: 'List every known worker and when it was last heard of',
    access: 'viewer',
    answers: {
      200: t.Object({
        workers: t.Array(ref('Worker')),
        generated_at: t.Number({ description: 'Seconds since the epoch' }),
        bus_connected: t.Boolean({ description: 'Redis answers' }),
      }),
    },
  }),
  startAll: operation('startAllWorkers', {
    tag: 'workers',
    summary: 'Start every worker that can be started and does not run',
    access: 'admin',
    answers: {
      200: t.Object({
        started: t.Array(name),
        already_running: t.Array(name),
        failed: t.Array(t.Object({ name, reason: t.String() })),
      }),
    },
  }),
  stop: operation('stopWorker', {
    tag: 'workers',
    summary: 'Tell a worker to stop; whether it does shows in its heartbeats',
    access: 'admin',
    answers: { 202: accepted('stop') },
    refuses: [404],
  }),
  start: operation('startWorker', {
    tag: 'workers',
    summary: 'Start a worker by the supervisor of this server',
    description: 'Without one that starts it: 503.',
    access: 'admin',
    answers: { 202: accepted('start') },
    refuses: [404, 502],
  }),
};
