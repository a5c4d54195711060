import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { Child } from './child.ts';
import type { ReceiverCommand, ReceiverReport } from './protocol.ts';
import type { Row, Table } from './table.ts';
import { cpuMs } from './usage.ts';

const BACKLOG = 100_000;
const FILL_RATE = 4000;
/** Requests under way at once. */
const CONCURRENCY = 16;
const PAUSE_MS = 200;
/** Dispatching, or draining, may take so long. */
const LIMIT_MS = 6 * 60_000;
/** An ordinary rate of the streams beside it. */
const STREAM_RATE = 50;
/** CPU of the server in a second that has nothing to do. */
const IDLE_CPU_MS = 100;

interface Shown {
  readonly uuid: string;
  readonly stats: { readonly delivered: number };
}

/** A backlog of webhooks that drains: how fast alone, and what the streams beside it notice. */
export async function webhooks(bench: Bench): Promise<Table> {
  const receiver = new Child<ReceiverCommand, ReceiverReport>(join(import.meta.dir, 'receiver.ts'));
  try {
    return await measure(bench, receiver);
  } finally {
    await receiver.stop();
  }
}

async function measure(bench: Bench, receiver: Child<ReceiverCommand, ReceiverReport>): Promise<Table> {
  const { clients, seconds } = bench.options;
  const rows: Row[] = [];
  await bench.connect(clients);
  await bench.deliver(STREAM_RATE, 2); // The first seconds compile.
  rows.push(await streams(bench, 'idle', seconds));

  const { port } = await receiver.ask({ refuse: true });
  const wanted = { name: 'load', url: `http://127.0.0.1:${port}/`, topic_patterns: ['canary.>'] };
  const { uuid } = await ask<Shown>(bench, 'POST', '/webhooks/', { ...wanted, concurrency: CONCURRENCY });
  await bench.publish('canary.token.triggered', FILL_RATE, BACKLOG / FILL_RATE);
  await untilSo(async () => (await newestSeq(bench, uuid)) >= BACKLOG);
  // What else the events cause is over, too.
  await untilSo(async () => {
    const before = cpuMs(...bench.plane.serverPids);
    await Bun.sleep(1000);
    return cpuMs(...bench.plane.serverPids) - before < IDLE_CPU_MS;
  });

  await receiver.ask({ refuse: false });
  // The breaker has opened long ago; enabled again, it begins anew.
  for (const enabled of [false, true]) await ask(bench, 'PATCH', `/webhooks/${uuid}`, { enabled });
  await untilSo(async () => (await receiver.ask({ refuse: false })).requests > 0);
  rows.push(await alone(bench, receiver, seconds));
  const before = await receiver.ask({ refuse: false });
  const beside = await streams(bench, 'backlog drains', seconds);
  const after = await receiver.ask({ refuse: false });
  const hooked = after.requests - before.requests;
  rows.push({ ...beside, 'webhooks/s': hooked / Number(beside['span s']), connections: after.connections });
  await untilSo(async () => (await ask<Shown>(bench, 'GET', `/webhooks/${uuid}`)).stats.delivered >= BACKLOG);
  await bench.disconnect();
  return { title: `Webhooks: a backlog of ${BACKLOG} deliveries, ${CONCURRENCY} requests at once`, rows };
}

async function streams(bench: Bench, state: string, seconds: number): Promise<Row> {
  const { report, spanMs, published, cores } = await bench.deliver(STREAM_RATE, seconds);
  return {
    ...row(state),
    clients: bench.options.clients,
    'p50 ms': report.latency.p50,
    'p99 ms': report.latency.p99,
    lost: bench.options.clients * published - report.delivered + report.repeated,
    'span s': spanMs / 1000,
    'server cores': cores.server,
    'other cores': cores.others,
  };
}

async function alone(bench: Bench, receiver: Child<ReceiverCommand, ReceiverReport>, seconds: number): Promise<Row> {
  const { serverPids } = bench.plane;
  const before = { ...(await receiver.ask({ refuse: false })), cpu: cpuMs(...serverPids), at: performance.now() };
  await Bun.sleep(seconds * 1000);
  const after = { ...(await receiver.ask({ refuse: false })), cpu: cpuMs(...serverPids), at: performance.now() };
  const count = after.requests - before.requests;
  const spanMs = after.at - before.at;
  return {
    ...row('drains alone'),
    'span s': spanMs / 1000,
    'server cores': (after.cpu - before.cpu) / spanMs,
    'webhooks/s': (count / spanMs) * 1000,
    'server CPU µs/webhook': ((after.cpu - before.cpu) * 1000) / count,
    connections: after.connections,
  };
}

/** All columns, so that each row has them. */
function row(state: string): Row {
  const columns = ['clients', 'p50 ms', 'p99 ms', 'lost', 'span s', 'server cores', 'other cores', 'webhooks/s'];
  const all = [...columns, 'server CPU µs/webhook', 'connections'];
  return { state, ...Object.fromEntries(all.map((column) => [column, ''])) };
}

async function newestSeq(bench: Bench, uuid: string): Promise<number> {
  const path = `/webhooks/${uuid}/deliveries?limit=1`;
  const { items } = await ask<{ items: { seq: number }[] }>(bench, 'GET', path);
  return items[0]?.seq ?? 0;
}

async function ask<T>({ plane }: Bench, method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(`${plane.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${plane.token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

async function untilSo(isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error('webhooks were not dispatched or delivered in time');
    await Bun.sleep(PAUSE_MS);
  }
}
