import { createEvent, type Event } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { LogHistory } from '../../src/bus/log-history.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { listeners } from '../../src/bus/subscription.ts';
import { Tail } from '../../src/bus/tail.ts';
import { type Db, type Engine, openDatabase } from '../../src/db/database.ts';
import type { Database } from '../../src/db/schema.ts';
import { type Keep, limitsOf } from '../../src/projection/keep.ts';
import type { Projection } from '../../src/projection/projection.ts';
import { lagOf, Projections } from '../../src/projection/projections.ts';
import type { Protections } from '../../src/projection/runner.ts';
import { allProjections, memoryFor } from '../../src/projection/start.ts';
import { createTestDatabase, quiet, type TestDatabase } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';

const MAX_EVENTS = 10_000;
/** More than any test has. */
export const KEEP_ALL: Keep = {
  rows: limitsOf({ lines: 1e6, commands: 1e6, actions: 1e6, attackers: 1e6, identities: 1e6, campaigns: 1e6 }),
  maxAgeMs: 0,
};

/** Tables that projections own, and what their rows are sorted by. */
const OWNED = {
  logs: 'id',
  log_values: 'value',
  log_minutes: 'minute',
  log_quarters: 'quarter',
  counters: 'name',
  attackers: 'ip',
  attacker_uuids: 'uuid',
  attacker_commands: 'seq',
  attacker_services: 'ip',
  attacker_identities: 'uuid',
  identity_observations: 'observation_uuid',
  attacker_smtp_targets: 'ip',
  observations: 'primitive',
  attributions: 'primitive',
  attacker_intel: 'attacker_uuid',
  campaigns: 'uuid',
  campaign_members: 'identity_uuid',
  orchestrator_events: 'uuid',
  orchestrator_emails: 'uuid',
  worker_heartbeats: 'name',
} as const satisfies Partial<Record<keyof Database, string>>;

/** All rows of all projections, in an order of their own. */
export async function dump(db: Db): Promise<Record<string, unknown[]>> {
  const tables: Record<string, unknown[]> = {};
  for (const [table, by] of Object.entries(OWNED)) {
    const rows = await db
      .selectFrom(table as 'logs')
      .selectAll()
      .orderBy(by as 'id')
      .execute();
    // What the database numbers by itself has holes after transactions that failed.
    tables[table] = rows.map(({ ...row }) => JSON.stringify('seq' in row ? { ...row, seq: 0 } : row)).sort();
  }
  return tables;
}

/** A process that projects: its own connections, a tail, and all projections. */
export interface ProjectingNode {
  readonly db: Db;
  readonly projections: Projections;
  stop(): Promise<void>;
}

export interface NodeOptions {
  readonly projections?: readonly Projection[];
  readonly protections?: Protections;
  readonly memory?: number;
  readonly node?: string;
  readonly keep?: Keep;
}

/** Starts one on a database and a Redis. */
export async function projectingNode(
  engine: Engine,
  databaseUrl: string,
  redisUrl: string,
  options: NodeOptions = {},
): Promise<ProjectingNode> {
  const db = openDatabase(databaseUrl, quiet);
  const redis = connectRedis(redisUrl, quiet);
  await whenReady(redis);
  const eventLog = new EventLog(redis.commands, { maxEvents: MAX_EVENTS, idempotencyMs: 60_000 });
  const projections = new Projections({
    db,
    engine,
    redis: redis.commands,
    node: options.node ?? crypto.randomUUID(),
    logger: quiet,
    keep: options.keep ?? KEEP_ALL,
    memory: options.memory ?? memoryFor(MAX_EVENTS),
    projections: options.projections ?? allProjections(engine, options.keep?.rows),
    ...(options.protections === undefined ? {} : { protections: options.protections }),
  });
  const tail = new Tail(redis.openTail, eventLog, listeners([projections.listener], quiet), quiet);
  tail.start();
  projections.start();
  return {
    db,
    projections,
    async stop() {
      await projections.stop();
      tail.stop();
      redis.close();
      await db.destroy();
    },
  };
}

const COUNTERS = {
  lines: 'log_lines',
  commands: 'attacker_commands',
  actions: 'orchestrator_events',
  emails: 'orchestrator_emails',
} as const;

/** Waits until there are no more rows than are to be kept. */
export async function trimmed(db: Db, { rows }: Keep): Promise<void> {
  await until('the surplus to be gone', async () => {
    const counters = await db.selectFrom('counters').selectAll().execute();
    const kept = (kind: keyof typeof COUNTERS) => counters.find(({ name }) => name === COUNTERS[kind])?.value ?? 0;
    return (['lines', 'commands', 'actions', 'emails'] as const).every((kind) => kept(kind) <= rows[kind]);
  });
}

/** A Redis with a log, and a database. */
export interface Stage {
  readonly engine: Engine;
  readonly server: TestRedis;
  readonly redis: RedisConnections;
  readonly eventLog: EventLog;
  readonly history: LogHistory;
  readonly database: TestDatabase;
  publish(events: readonly Event[]): Promise<void>;
  node(options?: NodeOptions): Promise<ProjectingNode>;
  /** Waits until every projection has looked at all of the log. */
  caughtUp(): Promise<void>;
  /** The rows that a fresh database gets of what the log holds, by projecting it once without any trouble. */
  recount(keep?: Keep): Promise<Record<string, unknown[]>>;
  stop(): Promise<void>;
}

export async function createStage(engine: Engine): Promise<Stage> {
  const [server, database] = await Promise.all([startTestRedis(), createTestDatabase(engine)]);
  const redis = connectRedis(server.url, quiet);
  await whenReady(redis);
  const eventLog = new EventLog(redis.commands, { maxEvents: MAX_EVENTS, idempotencyMs: 60_000 });
  const stops: (() => Promise<unknown>)[] = [];
  const caughtUpIn = (db: Db) =>
    until(
      'the projections to catch up',
      async () =>
        (await lagOf(db, eventLog, allProjections(engine))).every(
          ({ events, state }) => events === 0 && state !== 'clearing',
        ),
      20_000,
    );
  return {
    engine,
    server,
    redis,
    eventLog,
    history: new LogHistory(redis.commands),
    database,
    async publish(events) {
      for (let first = 0; first < events.length; first += 100) {
        await eventLog.publish(events.slice(first, first + 100).map((event) => ({ event })));
      }
    },
    async node(options) {
      const node = await projectingNode(engine, database.url, server.url, options);
      let stopping: Promise<void> | undefined;
      const stop = () => {
        stopping ??= node.stop();
        return stopping;
      };
      stops.push(stop);
      return { ...node, stop };
    },
    caughtUp: async () => void (await caughtUpIn(database.db)),
    async recount(keep = KEEP_ALL) {
      const fresh = await createTestDatabase(engine);
      // Lines have the same ids only where epochs have the same numbers.
      const epochs = await database.db.selectFrom('log_epochs').selectAll().execute();
      if (epochs.length > 0) await fresh.db.insertInto('log_epochs').values(epochs).execute();
      const node = await projectingNode(engine, fresh.url, server.url, { keep });
      try {
        await caughtUpIn(fresh.db);
        await trimmed(fresh.db, keep);
        return await dump(fresh.db);
      } finally {
        await node.stop();
        await fresh.dispose();
      }
    },
    async stop() {
      await Promise.all(stops.map((stop) => stop()));
      redis.close();
      await server.stop();
      await database.dispose();
    },
  };
}

const ADDRESSES = ['192.0.2.1', '192.0.2.2', '198.51.100.7', '203.0.113.9', 'Unknown'];
const DECKIES = ['web-front', 'mail-relay', 'orders-db'];
const SERVICES = ['ssh', 'http', 'smtp'];
const START_MS = Date.parse('2026-11-21T08:00:00.000Z');

/** Events of every family that projections know, some of them nonsense; the same for the same seed and number. */
export function someEvents(count: number, random: () => number, first = 0): Event[] {
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  return Array.from({ length: count }, (_, index) => {
    const n = first + index;
    const now = START_MS + n * 1000;
    const id = `event-${n}`;
    const make = (topic: string, type: string, payload: Event['payload']) => createEvent(topic, type, payload, id, now);
    const attacker_ip = pick(ADDRESSES);
    const line = { decky: pick(DECKIES), service: pick(SERVICES), attacker_ip, timestamp: new Date(now).toISOString() };
    switch (below(12)) {
      case 0:
        return make('campaign.formed', 'formed', { campaign_uuid: `c${below(4)}`, identity_uuids: [`i${below(9)}`] });
      case 1:
        return make('campaign.merged', 'merged', { winner_uuid: `c${below(2)}`, loser_uuid: `c${2 + below(2)}` });
      case 2:
        return make(`orchestrator.traffic.${pick(DECKIES)}`, 'traffic', { action: 'exec:id', success: below(2) === 0 });
      case 3:
        return make(`system.${pick(['mutator', 'sniffer', 'nobody'])}.health`, 'health', {
          ts: pick([now / 1000, 'x']),
        });
      case 4:
        return make('attacker.session.ended', 'session.ended', {
          attacker_ip,
          commands: [{ command_text: `cat file-${n}`, decky: pick(DECKIES), service: 'ssh' }],
        });
      case 5:
        return make('identity.formed', 'formed', {
          identity_uuid: `i${below(9)}`,
          observation_uuids: [`a-${attacker_ip}`],
        });
      case 6:
        return make('attacker.observation.motor.modality', 'motor.modality', {
          attacker_uuid: `a-${attacker_ip}`,
          value: n,
          ts: now / 1000,
          ...(below(2) === 0 ? {} : { attacker_ip: attacker_ip === 'Unknown' ? '192.0.2.77' : attacker_ip }),
        });
      case 7:
        return make('system.log', 'batch_committed', { component: 'ingester', flushed: 3, position: n });
      case 8:
        return make('system.log', 'login\u0001', { ...line, decky: 7, fields: 'not json' });
      default:
        return make('system.log', 'login_attempt', {
          ...line,
          event_type: 'login_attempt',
          raw_line: `line ${n}\0 of ${line.decky}`,
          fields: { username: 'root', n },
        });
    }
  });
}
