import { join } from 'node:path';
import { type Bench, median } from './bench.ts';
import { Child } from './child.ts';
import { sampleEvent } from './http-scenarios.ts';
import { isPinnable, pinned } from './pinned.ts';
import type { SocketCommand, SocketReport } from './protocol.ts';
import type { Row, Table } from './table.ts';
import { cpuMs } from './usage.ts';

const RUNS = 3;
/** Events of a message, and messages under way. */
const CASES = [
  { events: 1, window: 1 },
  { events: 1, window: 512 },
  { events: 500, window: 8 },
] as const;

/** Events that come in over one WebSocket: one after the other, pipelined, in batches. */
export async function ws(bench: Bench): Promise<Table> {
  const rows = await pinned(bench.plane, async () => {
    // Started here: it stays where this process is.
    const publisher = new Child<SocketCommand, SocketReport>(join(import.meta.dir, 'socket-publisher.ts'));
    try {
      const all: Row[] = [];
      for (const each of CASES) all.push(await measure(bench, publisher, each));
      return all;
    } finally {
      await publisher.stop();
    }
  });
  return { title: `Publishing over one WebSocket${isPinnable() ? ', the server on a core of its own' : ''}`, rows };
}

async function measure(
  { plane, topic, options }: Bench,
  publisher: Child<SocketCommand, SocketReport>,
  { events, window }: (typeof CASES)[number],
): Promise<Row> {
  const { url, token, serverPids, redisPid } = plane;
  const event = JSON.stringify(sampleEvent(topic));
  const seconds = options.seconds / RUNS;
  const runs: { report: SocketReport; server: number; redis: number }[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const before = { server: cpuMs(...serverPids), redis: cpuMs(redisPid), at: performance.now() };
    const report = await publisher.ask({ url, token, event, events, window, seconds });
    // Warming up and ending cost, too: the share of the time that was measured.
    const share = report.spanMs / (performance.now() - before.at);
    const spent = (now: number, then: number) => ((now - then) * share * 1000) / report.published;
    const server = spent(cpuMs(...serverPids), before.server);
    runs.push({ report, server, redis: spent(cpuMs(redisPid), before.redis) });
  }
  const middle = (value: (run: (typeof runs)[number]) => number) => median(runs.map(value)) ?? 0;
  return {
    'events a message': events,
    'messages under way': window,
    'events/s': middle(({ report }) => (report.published / report.spanMs) * 1000),
    'p50 ms': middle(({ report }) => report.latency.p50),
    'p99 ms': middle(({ report }) => report.latency.p99),
    'server CPU µs/event': middle(({ server }) => server),
    'redis CPU µs/event': middle(({ redis }) => redis),
  };
}
