import autocannon, { type Options, type Result } from 'autocannon';
import { type Bench, median } from './bench.ts';
import type { Table } from './table.ts';
import { cpuMs } from './usage.ts';

const CONNECTIONS = 50;
/** Each endpoint is measured so often, in turn; the median of the runs is told. */
const RUNS = 3;

/** What a request costs that touches nothing: the floor of all others. */
export async function http(bench: Bench): Promise<Table> {
  return { title: 'HTTP without sign-in', rows: [await measure(bench, 'GET /healthz', '/healthz', {})] };
}

/** Events that come in by HTTP: checked, authorised, and durable when they are answered. */
export async function publish(bench: Bench): Promise<Table> {
  const body = JSON.stringify({
    topic: bench.topic,
    type: 'applied',
    payload: { mutation_id: crypto.randomUUID(), op: 'update_lan' },
  });
  const headers = { ...authorization(bench), 'content-type': 'application/json' };
  const row = await measure(bench, 'POST /api/v1/events', '/api/v1/events', { method: 'POST', headers, body });
  return { title: 'Publishing by HTTP', rows: [row] };
}

/** Clients that connect, get their snapshot and leave: what a restart of everybody costs. */
export async function snapshot(bench: Bench): Promise<Table> {
  const path = `${bench.streamPath}?once=1`;
  const row = await measure(bench, 'GET …/events?once=1', path, { headers: authorization(bench) });
  return { title: 'Connecting for a snapshot', rows: [row] };
}

function authorization({ plane }: Bench): Record<string, string> {
  return { authorization: `Bearer ${plane.token}` };
}

async function measure({ plane, options }: Bench, name: string, path: string, request: Partial<Options>) {
  const runs: { result: Result; cpu: number }[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const before = cpuMs(plane.serverPid);
    const duration = Math.max(1, Math.round(options.seconds / RUNS));
    const result = await autocannon({ ...request, url: plane.url + path, connections: CONNECTIONS, duration });
    runs.push({ result, cpu: cpuMs(plane.serverPid) - before });
  }
  const middle = (value: (run: (typeof runs)[number]) => number) => median(runs.map(value)) ?? 0;
  return {
    request: name,
    connections: CONNECTIONS,
    'requests/s': middle(({ result }) => result.requests.total / result.duration),
    'p50 ms': middle(({ result }) => result.latency.p50),
    'p99 ms': middle(({ result }) => result.latency.p99),
    'server CPU µs/request': middle(({ result, cpu }) => (cpu * 1000) / result.requests.total),
    failed: runs.reduce((sum, { result }) => sum + result.errors + result.non2xx, 0),
  };
}
