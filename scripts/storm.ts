/** `bun run storm`: the chaos test for as long as one likes. Exits with 1 when anybody was misled. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DRILLS, type Drill } from '../tests/chaos/drills.ts';
import { progress, summary } from '../tests/chaos/report.ts';
import { Storm } from '../tests/chaos/storm.ts';

const USAGE = `Usage: bun run storm [options]

  --minutes=5         how long to go on; ends after the round that is under way
  --seed=1            decides what is done in which order (when, the machine decides)
  --nodes=3           processes that serve and work
  --clients=20        streams that stall, vanish and return
  --database=sqlite   or postgres: a private one, which is restarted too
  --rounds=N          instead of minutes: so many rounds of six faults and a verdict
  --haste=1           faults last so many times shorter
  --logs=FOLDER       writes the logs of the nodes there
  --verbose           tells each fault as it happens
  --help              show this

Starts everything it breaks by itself, in temporary folders, reachable from this machine only. Ctrl-C stops all of it.
Prints a line every 30 s and a summary; exits with 1 when there was a violation.`;

const PROGRESS_MS = 30_000;
/** A round that hangs is a violation too. */
const GRACE_MS = 10 * 60_000;

interface Order {
  readonly minutes: number;
  readonly rounds: number;
  readonly seed: number;
  readonly nodes: number;
  readonly clients: number;
  readonly haste: number;
  readonly database: 'sqlite' | 'private postgres';
  readonly logs: string | undefined;
  readonly verbose: boolean;
}

class UsageError extends Error {}

function readOrder(): Order | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: '1' },
      nodes: { type: 'string', default: '3' },
      clients: { type: 'string', default: '20' },
      haste: { type: 'string', default: '1' },
      database: { type: 'string', default: 'sqlite' },
      logs: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const { database } = values;
  if (database !== 'sqlite' && database !== 'postgres') throw new UsageError('--database must be sqlite or postgres');
  return {
    minutes: wholeNumber('minutes', values.minutes, 7 * 24 * 60),
    rounds: wholeNumber('rounds', values.rounds, 1_000_000),
    seed: wholeNumber('seed', values.seed, 2 ** 32 - 1),
    nodes: wholeNumber('nodes', values.nodes, 10),
    clients: wholeNumber('clients', values.clients, 500),
    haste: wholeNumber('haste', values.haste, 100),
    database: database === 'sqlite' ? 'sqlite' : 'private postgres',
    logs: values.logs,
    verbose: values.verbose,
  };
}

function wholeNumber(option: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new UsageError(`--${option} must be a whole number from 1 to ${most}`);
  }
  return value;
}

function prepare(order: Order): Storm {
  const { minutes, rounds, logs, verbose } = order;
  const end = performance.now() + minutes * 60_000;
  if (logs !== undefined) mkdirSync(logs, { recursive: true });
  return new Storm({
    ...order,
    goesOn: (round) => round < rounds && performance.now() < end,
    faultsPerRound: 6,
    recoveryMs: 60_000,
    mostViolations: 20,
    drills: Object.keys(DRILLS) as Drill[],
    say: (line) => {
      if (verbose || line.startsWith('VIOLATION')) console.log(line);
    },
    ...(logs === undefined
      ? {}
      : { onNodeLog: (node, text) => appendFileSync(join(logs, `${node.replace(' ', '-')}.log`), text) }),
  });
}

async function main(): Promise<void> {
  const order = readOrder();
  if (order === undefined) return console.log(USAGE);
  const storm = prepare(order);
  let code: number | undefined;
  const end = async (reason: number) => {
    if (code !== undefined) return;
    code = reason;
    clearInterval(ticker);
    const { report } = storm;
    await storm.stop();
    console.log(`\n${summary(report)}`);
    process.exit(code);
  };
  const ticker = setInterval(() => console.log(progress(storm.report)), PROGRESS_MS);
  process.on('SIGINT', () => end(130));
  process.on('SIGTERM', () => end(143));
  setTimeout(
    () => {
      console.log('VIOLATION it did not end in time');
      void end(1);
    },
    order.minutes * 60_000 + GRACE_MS,
  );
  try {
    const { violations } = await storm.run();
    await end(violations.length === 0 ? 0 : 1);
  } catch (error) {
    // Interrupted, it fails for want of the processes that have been stopped.
    if (code === undefined) console.error(error);
    await end(1);
  }
}

function fail(error: unknown): void {
  const isMisuse = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  console.error(isMisuse ? `${error.message}\n\n${USAGE}` : error);
  process.exitCode = 2;
}

await main().catch(fail);
