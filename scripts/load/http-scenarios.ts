import autocannon, { type Options, type Result } from 'autocannon';
import { type Bench, median } from './bench.ts';
import { isPinnable, pinned } from './pinned.ts';
import type { Table } from './table.ts';
import { cpuMs } from './usage.ts';

const CONNECTIONS = 50;
const FEW_CONNECTIONS = 16;
/** Events of one request, and connections that send such. */
const LIST_EVENTS = 500;
const LIST_CONNECTIONS = 4;
const PAYLOAD_BYTES = 200;
/** Each endpoint is measured so often, in turn; the median of the runs is told. */
const RUNS = 3;

/** What a request costs that touches nothing: the floor of all others. */
export async function http(bench: Bench): Promise<Table> {
  return { title: 'HTTP without sign-in', rows: [await measure(bench, 'GET /healthz', '/healthz', {})] };
}

/** Events that come in by HTTP: checked, authorised, and durable when they are answered. */
export async function publish(bench: Bench): Promise<Table> {
  const one = JSON.stringify(sampleEvent(bench.topic));
  const list = `[${Array.from({ length: LIST_EVENTS }, () => one).join()}]`;
  const post = (body: string) => ({
    method: 'POST' as const,
    headers: { ...authorization(bench), 'content-type': 'application/json' },
    body,
  });
  const path = '/api/v1/events';
  const rows = await pinned(bench.plane, async () => [
    await measure(bench, 'POST /api/v1/events', path, post(one), { connections: 1 }),
    await measure(bench, 'POST /api/v1/events', path, post(one), { connections: FEW_CONNECTIONS }),
    await measure(bench, 'POST /api/v1/events', path, post(one)),
    await measure(bench, `POST /api/v1/events, ${LIST_EVENTS} at once`, path, post(list), {
      connections: LIST_CONNECTIONS,
      events: LIST_EVENTS,
    }),
  ]);
  return { title: `Publishing by HTTP${where()}`, rows };
}

/** Clients that connect, get their snapshot and leave: what a restart of everybody costs. */
export async function snapshot(bench: Bench): Promise<Table> {
  const path = `${bench.streamPath}?once=1`;
  const request = { headers: authorization(bench) };
  const rows = await pinned(bench.plane, async () => [
    await measure(bench, 'GET …/events?once=1', path, request, { connections: FEW_CONNECTIONS }),
    await measure(bench, 'GET …/events?once=1', path, request),
  ]);
  return { title: `Connecting for a snapshot${where()}`, rows };
}

/** An event with a payload of 200 bytes. */
export function sampleEvent(topic: string) {
  const payload = { mutation_id: crypto.randomUUID(), op: 'update_lan', note: '' };
  const note = 'x'.repeat(PAYLOAD_BYTES - JSON.stringify(payload).length);
  return { topic, type: 'applied', payload: { ...payload, note } };
}

function where(): string {
  return isPinnable() ? ', the server on a core of its own' : '';
}

function authorization({ plane }: Bench): Record<string, string> {
  return { authorization: `Bearer ${plane.token}` };
}

async function measure(
  { plane, options }: Bench,
  name: string,
  path: string,
  request: Partial<Options>,
  { connections = CONNECTIONS, events = 1 } = {},
) {
  const runs: { result: Result; cpu: number; redis: number }[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const before = [cpuMs(...plane.serverPids), cpuMs(plane.redisPid)] as const;
    const duration = Math.max(1, Math.round(options.seconds / RUNS));
    const result = await autocannon({ ...request, url: plane.url + path, connections, duration });
    runs.push({ result, cpu: cpuMs(...plane.serverPids) - before[0], redis: cpuMs(plane.redisPid) - before[1] });
  }
  const middle = (value: (run: (typeof runs)[number]) => number) => median(runs.map(value)) ?? 0;
  return {
    request: name,
    connections,
    'a second': middle(({ result }) => (events * result.requests.total) / result.duration),
    'p50 ms': middle(({ result }) => result.latency.p50),
    'p99 ms': middle(({ result }) => result.latency.p99),
    'server CPU µs': middle(({ result, cpu }) => (cpu * 1000) / (events * result.requests.total)),
    'redis CPU µs': middle(({ result, redis }) => (redis * 1000) / (events * result.requests.total)),
    failed: runs.reduce((sum, { result }) => sum + result.errors + result.non2xx, 0),
  };
}
