import { type Bench, type Delivery, median, waitFor } from './bench.ts';
import type { Row, Table } from './table.ts';
import { redisWork, residentBytes } from './usage.ts';

/** Events a second, rising until the server cannot follow. */
const FANOUT_RATES = [500, 1000, 2000, 3000, 4000] as const;
/** Clients whose opening has everything loaded and compiled, before memory is compared. */
const WARM_UP_CLIENTS = 100;
const SETTLED_BYTES = 256 * 1024;
const SETTLE_PAUSE_MS = 1000;
const SETTLE_LOOKS = 15;
/** Beyond it a step has failed, and a faster one need not be tried. */
const LOST_MS = 5000;

/** Clients that only wait. Memory is compared after the garbage of connecting has been collected. */
export async function idle(bench: Bench): Promise<Table> {
  const { plane, options } = bench;
  await bench.connect(WARM_UP_CLIENTS);
  const base = { bytes: await settledBytes(plane.serverPid), work: await redisWork(plane.redis) };
  const rows: Row[] = [];
  for (const clients of [options.clients, options.clients * 2]) {
    await bench.connect(clients + WARM_UP_CLIENTS);
    const bytes = await settledBytes(plane.serverPid);
    const work = await redisWork(plane.redis);
    rows.push({
      clients,
      'server MB': bytes / 1024 ** 2,
      'server KB/client': (bytes - base.bytes) / 1024 / clients,
      'redis connections': work.connections,
      'redis connections more': work.connections - base.work.connections,
      'redis KB/client': (work.memoryBytes - base.work.memoryBytes) / 1024 / clients,
    });
  }
  await bench.disconnect();
  return { title: `Idle clients, beyond the first ${WARM_UP_CLIENTS}`, rows };
}

/** How long an event takes to all clients at an ordinary rate. */
export async function latency(bench: Bench): Promise<Table> {
  const { clients, rate, seconds } = bench.options;
  await bench.connect(clients);
  await bench.deliver(rate, 1); // The first second compiles.
  const rows = [deliveryRow(await bench.deliver(rate, seconds), clients, rate)];
  await bench.disconnect();
  return { title: `Latency at ${rate} events/s`, rows };
}

/** How much can be delivered: ever more events to all clients. */
export async function fanout(bench: Bench): Promise<Table> {
  const { clients, seconds } = bench.options;
  await bench.connect(clients);
  const rows: Row[] = [];
  for (const rate of FANOUT_RATES) {
    await bench.deliver(rate, 1);
    const delivery = await bench.deliver(rate, seconds);
    rows.push(deliveryRow(delivery, clients, rate));
    if (delivery.report.latency.p50 > LOST_MS) break;
  }
  await bench.disconnect();
  return { title: 'Fan-out of one channel', rows };
}

/** What an event costs Redis, whoever listens. */
export async function redisWorkScenario(bench: Bench): Promise<Table> {
  const { rate, seconds } = bench.options;
  const rows: Row[] = [];
  for (const clients of clientSteps(bench.options.clients)) {
    await bench.connect(clients);
    await bench.deliver(rate, 1);
    const { published, redisMicros, cores, calls, spanMs } = await bench.deliver(rate, seconds);
    rows.push({
      clients,
      'events/s': rate,
      'redis CPU µs/event': redisMicros,
      'XADD/event': calls('xadd') / published,
      'XREAD/event': calls('xread') / published,
      'XREADGROUP/event': calls('xreadgroup') / published,
      // Checkpoints of the clients' groups: they go with time, not with events.
      'XGROUP/s': (calls('xgroup') / spanMs) * 1000,
      'redis cores': cores.redis,
      'other cores': cores.others,
    });
  }
  await bench.disconnect();
  return { title: 'Work of Redis by number of clients', rows };
}

/** A hundredth, a tenth and all of the clients. */
function clientSteps(clients: number): number[] {
  return [...new Set([Math.ceil(clients / 100), Math.ceil(clients / 10), clients])];
}

function deliveryRow({ published, report, ...delivery }: Delivery, clients: number, rate: number): Row {
  return {
    clients,
    'events/s': rate,
    'published/s': Math.round(delivery.publishedPerSecond),
    'deliveries/s': Math.round(delivery.deliveriesPerSecond),
    'p50 ms': report.latency.p50,
    'p99 ms': report.latency.p99,
    'max ms': report.latency.max,
    'server CPU µs/delivery': delivery.serverMicros,
    'server cores': delivery.cores.server,
    'redis cores': delivery.cores.redis,
    'client cores': delivery.cores.clients,
    'other cores': delivery.cores.others,
    // What the clients should have minus what they have, and what they noticed themselves.
    lost: clients * published - report.delivered + report.repeated,
    gaps: report.missing,
    repeated: report.repeated,
    resets: report.resets + report.closed,
    // Reads of history: clients that live delivery had outrun.
    replays: delivery.calls('xreadgroup'),
  };
}

/** Resident memory after collection, when it no longer changes: the median of three looks that agree. */
async function settledBytes(pid: number): Promise<number> {
  const looks: number[] = [];
  await waitFor('the memory of the server to settle', async () => {
    process.kill(pid, 'SIGUSR2');
    await Bun.sleep(SETTLE_PAUSE_MS);
    looks.push(residentBytes(pid));
    const last = looks.slice(-3);
    const hasSettled = last.length === 3 && Math.max(...last) - Math.min(...last) < SETTLED_BYTES;
    return hasSettled || looks.length >= SETTLE_LOOKS;
  });
  return median(looks.slice(-3)) ?? 0;
}
