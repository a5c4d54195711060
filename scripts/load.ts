/** `bun run load`: measures a server of its own, on this machine, and stops by itself. No test: nothing is asserted. */
import { cpus, release, totalmem, type } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Bench, type LoadOptions } from './load/bench.ts';
import { crowd } from './load/crowd.ts';
import { hotSpots } from './load/hot-spots.ts';
import { http, publish, snapshot } from './load/http-scenarios.ts';
import { ingest } from './load/ingest-scenario.ts';
import { nchan } from './load/nchan.ts';
import { Stops } from './load/plane.ts';
import { ws } from './load/socket-scenario.ts';
import { fanout, idle, latency, redisWorkScenario } from './load/stream-scenarios.ts';
import { render, type Table } from './load/table.ts';
import { webhooks } from './load/webhook-scenario.ts';

const SCENARIOS: Readonly<Record<string, (bench: Bench) => Promise<Table>>> = {
  idle,
  http,
  publish,
  nchan,
  ws,
  snapshot,
  latency,
  fanout,
  'redis-work': redisWorkScenario,
  crowd,
  ingest,
  webhooks,
};

const USAGE = `Usage: bun run load [options] [scenario…]

  --clients=1000   long-lived clients, all on the stream of one topology
  --seconds=10     how long each case is measured
  --rate=100       events in each second, where the scenario does not raise it itself
  --profile=DIR    the server writes a CPU profile there; what it spends its time on is told at the end
  --json           results as JSON
  --help           show this

Scenarios, all of them by default: ${Object.keys(SCENARIOS).join(', ')}
Starts a server, Redis and a database of its own in a temporary folder; uses loopback only.`;

/** However it goes, nothing runs longer than this. */
const LIMIT_MS = 20 * 60_000;

interface Order extends LoadOptions {
  readonly scenarios: readonly string[];
  readonly json: boolean;
}

function readOrder(): Order | undefined {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      clients: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '10' },
      rate: { type: 'string', default: '100' },
      profile: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const scenarios = positionals.length > 0 ? positionals : Object.keys(SCENARIOS);
  const unknown = scenarios.find((name) => !Object.hasOwn(SCENARIOS, name));
  if (unknown !== undefined) throw new UsageError(`there is no scenario ${unknown}`);
  return {
    ...{ scenarios, json: values.json },
    clients: wholeNumber('clients', values.clients, 10_000),
    seconds: wholeNumber('seconds', values.seconds, 60),
    rate: wholeNumber('rate', values.rate, 10_000),
    ...(values.profile === undefined ? {} : { profile: resolve(values.profile) }),
  };
}

class UsageError extends Error {}

function wholeNumber(option: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new UsageError(`--${option} must be a whole number from 1 to ${most}`);
  }
  return value;
}

async function run(order: Order, bench: Bench): Promise<void> {
  const tables: Record<string, Table> = {};
  for (const name of order.scenarios) {
    console.error(`measuring ${name}`);
    const table = await SCENARIOS[name]?.(bench);
    if (table !== undefined) tables[name] = table;
  }
  const setting = { machine: machine(), clients: order.clients, seconds: order.seconds, rate: order.rate };
  if (order.json) {
    console.log(JSON.stringify({ ...setting, results: tables }, undefined, 2));
    return;
  }
  const report = Object.values(tables).map(render).join('\n\n');
  console.log(`\n${setting.machine}; ${order.seconds} s for each case\n\n${report}`);
}

function machine(): string {
  const [cpu] = cpus();
  const gigabytes = Math.round(totalmem() / 1024 ** 3);
  return `${cpus().length} × ${cpu?.model.trim()}, ${gigabytes} GB, ${type()} ${release()}, Bun ${Bun.version}`;
}

async function main(): Promise<void> {
  const order = readOrder();
  if (order === undefined) {
    console.log(USAGE);
    return;
  }
  const stops = new Stops();
  console.error('starting server, redis, clients and publisher');
  const starting = Bench.start(order, stops);
  let code: number | undefined;
  const endBy = async (reason: number) => {
    if (code !== undefined) return;
    code = reason;
    await starting.catch(() => {}); // What is being started has to be there to be stopped.
    await stops.run();
    process.exit(code);
  };
  process.on('SIGINT', () => endBy(130));
  process.on('SIGTERM', () => endBy(143));
  setTimeout(() => {
    console.error('stopped: it took too long');
    void endBy(1);
  }, LIMIT_MS);
  try {
    await run(order, await starting);
    if (order.profile !== undefined) {
      await stops.run(); // It is written when the server ends.
      console.log(`\n${render(hotSpots(order.profile))}`);
    }
    await endBy(0);
  } catch (error) {
    // Interrupted, it fails for want of the processes that have been stopped.
    if (code === undefined) console.error(error);
    await endBy(1);
  }
}

function fail(error: unknown): void {
  const isMisuse = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  console.error(isMisuse ? `${error.message}\n\n${USAGE}` : error);
  process.exitCode = 1;
}

await main().catch(fail);
