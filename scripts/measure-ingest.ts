/**
 * How many events a second become rows of all read models: `bun scripts/measure-ingest.ts [--events=50000]
 * [--database=<url of an empty database>] [--keep=<rows of each kind>]
 * [--alone: as in a process with no other role]`. Fills a log in a Redis of its own with lines and the like, lets the projections
 * read it, and prints the rate, the CPU that it took and for how long the event loop stood still.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { startEmbeddedRedis } from '../src/bus/embedded-redis.ts';
import { createEvent, type Event } from '../src/bus/event.ts';
import { EventLog } from '../src/bus/event-log.ts';
import { connectRedis } from '../src/bus/redis.ts';
import { engineOf, openDatabase } from '../src/db/database.ts';
import { migrate } from '../src/db/migrate.ts';
import { DEFAULT_LIMITS, limitsOf } from '../src/projection/keep.ts';
import { lagOf, Projections } from '../src/projection/projections.ts';
import { allProjections, memoryFor } from '../src/projection/start.ts';
import { createLog } from '../src/telemetry/log.ts';

const BATCH = 500;

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '50000' },
    database: { type: 'string' },
    keep: { type: 'string', default: '1000000' },
    alone: { type: 'boolean', default: false },
  },
});
const [total, keep] = [Number(values.events), Number(values.keep)];
const logger = createLog('warn');
const folder = await mkdtemp(join(tmpdir(), 'decnet-ingest-'));
const url = values.database ?? `sqlite:${folder}/rows.sqlite`;
const server = await startEmbeddedRedis(folder, logger);
const redis = connectRedis(server.socket, logger);
const db = openDatabase(url, logger, values.alone ? 'background' : 'all');

function event(n: number): Event {
  const at = Date.parse('2026-11-21T08:00:00Z') + n * 20;
  const address = { attacker_ip: `198.51.${100 + (n % 20)}.${(n * 31) % 251}` };
  if (n % 20 === 0) return createEvent('orchestrator.traffic.d', 'traffic', { action: 'exec:id' }, undefined, at);
  if (n % 20 === 1) return createEvent('system.sniffer.health', 'health', { ts: at / 1000 }, undefined, at);
  if (n % 20 === 2) return createEvent('attacker.scored', 'scored', { ...address, event_count: n }, undefined, at);
  const decky = `decky-${n % 40}`;
  const service = ['ssh', 'http', 'smb', 'ftp'][n % 4] ?? 'ssh';
  const fields = { username: 'root', password: `p${n}`, command: 'uname -a' };
  const raw_line = `<134>1 ${decky} ${service}d - login_attempt [src="${address.attacker_ip}" user="root"] password p${n}`;
  const timestamp = new Date(at).toISOString();
  const payload = {
    ...address,
    decky,
    service,
    event_type: 'login_attempt',
    timestamp,
    raw_line,
    fields,
    msg: 'refused',
  };
  return createEvent('system.log', 'login_attempt', payload, undefined, at);
}

try {
  await migrate(db, engineOf(url));
  const eventLog = new EventLog(redis.commands, { maxEvents: total + 1000, idempotencyMs: 60_000 });
  for (let first = 0; first < total; first += BATCH) {
    await eventLog.publish(
      Array.from({ length: Math.min(BATCH, total - first) }, (_, n) => ({ event: event(first + n) })),
    );
  }
  const limits = limitsOf({ ...DEFAULT_LIMITS, lines: keep, commands: keep, actions: keep });
  const projections = allProjections(engineOf(url), limits);
  const memory = memoryFor(total);
  const projector = new Projections({
    db,
    engine: engineOf(url),
    redis: redis.commands,
    node: 'measured',
    logger,
    projections,
    memory,
    servesNobody: values.alone,
    keep: { rows: limits, maxAgeMs: 0 },
  });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const [began, used] = [performance.now(), process.cpuUsage()];
  projector.start();
  while ((await lagOf(db, eventLog, projections)).some(({ events }) => events > 0)) await Bun.sleep(50);
  const seconds = (performance.now() - began) / 1000;
  const cpu = process.cpuUsage(used);
  delay.disable();
  const micros = (cpu.user + cpu.system) / total;
  console.log(
    `${engineOf(url)}: ${Math.round(total / seconds)} events/s over ${seconds.toFixed(1)} s, ` +
      `${micros.toFixed(0)} us of CPU an event (${Math.round(1e6 / micros)} events/s on a core of its own), ` +
      `loop delay p50 ${(delay.percentile(50) / 1e6).toFixed(1)} p99 ${(delay.percentile(99) / 1e6).toFixed(1)} ` +
      `max ${(delay.max / 1e6).toFixed(1)} ms`,
  );
  await projector.stop();
} finally {
  await db.destroy();
  redis.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
