import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { Child } from './child.ts';
import type { PublisherCommand, PublisherReport } from './protocol.ts';
import type { Row, Table } from './table.ts';

/** An ordinary rate of the streams beside it. */
const STREAM_RATE = 50;
const LINES = 'system.log';
/** Lines in each second. */
const RATES = [1000, 2500, 5000] as const;
/** They come for so long before anything is measured, and for a moment after. */
const LEAD_SECONDS = 2;
const TAIL_SECONDS = 1;
const LIMIT_MS = 60_000;
const POLL_MS = 100;

/** How far the read models of lines are: of the log, and of the attackers who cause them. */
interface Progress {
  readonly at: number;
  readonly counted: number;
  readonly behind: number;
}

/** Lines of deckies' logs become rows: how fast, and what the streams beside it notice. */
export async function ingest(bench: Bench): Promise<Table> {
  const publisher = new Child<PublisherCommand, PublisherReport>(join(import.meta.dir, 'publisher.ts'));
  const { clients, seconds } = bench.options;
  const rows: Row[] = [];
  try {
    await bench.connect(clients);
    await bench.deliver(STREAM_RATE, 2); // The first seconds compile.
    rows.push({ ...(await streams(bench, 0)), 'rows/s': '', 'behind after': '', 'caught up after s': '' });
    for (const rate of RATES) {
      const sending = publisher.ask(linesOf(bench, rate, LEAD_SECONDS + seconds + TAIL_SECONDS));
      await Bun.sleep(LEAD_SECONDS * 1000);
      const before = await progress(bench);
      const beside = await streams(bench, rate);
      const after = await progress(bench);
      await sending;
      const perSecond = ((after.counted - before.counted) * 1000) / (after.at - before.at);
      const ended = performance.now();
      await caughtUp(bench);
      const late = (performance.now() - ended) / 1000;
      rows.push({ ...beside, 'rows/s': perSecond, 'behind after': after.behind, 'caught up after s': late });
    }
    await bench.disconnect();
  } finally {
    await publisher.stop();
  }
  return { title: `Read models: lines of logs while ${STREAM_RATE} events/s are streamed`, rows };
}

function linesOf({ plane }: Bench, rate: number, seconds: number): PublisherCommand {
  return { redis: plane.redisUrl, maxEvents: plane.maxEvents, topic: LINES, rate, seconds };
}

async function streams(bench: Bench, linesPerSecond: number): Promise<Row> {
  const { report, published, cores } = await bench.deliver(STREAM_RATE, bench.options.seconds);
  return {
    'lines/s': linesPerSecond,
    clients: bench.options.clients,
    'p50 ms': report.latency.p50,
    'p99 ms': report.latency.p99,
    lost: bench.options.clients * published - report.delivered + report.repeated,
    'server cores': cores.server,
    'redis cores': cores.redis,
    'other cores': cores.others,
  };
}

/** Of whichever of the two is further behind. */
async function progress({ plane }: Bench): Promise<Progress> {
  const at = performance.now();
  const { checks }: { checks: { projections: Record<string, { counted: number; events: number }> } } = JSON.parse(
    await (await fetch(`${plane.url}/readyz`)).text(),
  );
  const both = ['logs', 'attackers'].flatMap((name) => checks.projections[name] ?? []);
  return {
    at,
    counted: Math.min(...both.map(({ counted }) => counted)),
    behind: Math.max(...both.map(({ events }) => events)),
  };
}

async function caughtUp(bench: Bench): Promise<void> {
  const end = performance.now() + LIMIT_MS;
  while ((await progress(bench)).behind > 0) {
    if (performance.now() > end) throw new Error('the read models did not catch up in time');
    await Bun.sleep(POLL_MS);
  }
}
