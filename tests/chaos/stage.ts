import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokens } from '../../src/auth/tokens.ts';
import { topologyChannel } from '../../src/bus/channel.ts';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { matcher } from '../../src/bus/topic.ts';
import { type Db, type Engine, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { testEnv } from '../support/app.ts';
import { createTestDatabase, quiet } from '../support/database.ts';
import type { Random } from '../support/random.ts';
import { until } from '../support/until.ts';
import { Archive } from './archive.ts';
import { BusProducers } from './bus-producers.ts';
import { Carrier } from './carrier.ts';
import { StormClient } from './client.ts';
import { Crowd } from './crowd.ts';
import { Fleet } from './fleet.ts';
import { bySse, type Way } from './line.ts';
import { Load, STORM_ATTACKER } from './load.ts';
import { type PostgresServer, startPostgres } from './postgres-server.ts';
import { Recount } from './recount.ts';
import { RedisServer } from './redis-server.ts';
import {
  blankScreen,
  CAMPAIGN_ROWS,
  IdentityScreen,
  ORCHESTRATOR_ROWS,
  observationRows,
  ProjectedScreen,
  type Screen,
  TopologyScreen,
} from './screen.ts';
import type { Sabotage } from './server.ts';
import type { Watch } from './verify.ts';

export interface StageOptions {
  readonly random: Random;
  /** `private postgres`: a cluster of its own, which may be restarted. */
  readonly database: Engine | 'private postgres';
  readonly nodes: number;
  readonly clients: number;
  readonly without?: Sabotage | undefined;
  readonly onNodeLog?: ((node: string, text: string) => void) | undefined;
}

/** Everything that takes part, started. */
export interface Stage {
  readonly db: Db;
  readonly redis: RedisServer;
  readonly postgres: PostgresServer | undefined;
  readonly fleet: Fleet;
  readonly archive: Archive;
  /** Those whose events are published by the storm alone. */
  readonly channels: readonly string[];
  readonly recount: Recount;
  readonly clients: readonly StormClient[];
  readonly crowd: Crowd;
  readonly load: Load;
  readonly bus: BusProducers;
  /** Publishes beside the nodes, as any other producer. */
  readonly log: EventLog;
  readonly topologies: readonly [string, ...string[]];
}

type Stop = () => Promise<unknown> | unknown;

const TOPOLOGIES = 3;
const CLIENTS_PER_SOCKET = 5;
/** Small, so that falling behind means reading history from Redis. */
const WINDOW_BYTES = '65536';
/** Small enough to be reached in minutes, so that history is trimmed without anybody's doing. */
const LOG_MAX_EVENTS = '20000';
const TOKEN_SECONDS = 7 * 86_400;

/** @param stops gets how to stop what was started, as soon as it was */
export async function setStage(options: StageOptions, stops: Stop[]): Promise<Stage> {
  const { random, nodes, without, onNodeLog } = options;
  const { url, db, postgres } = await openStageDatabase(options.database, stops);
  const redis = await RedisServer.start();
  stops.push(() => redis.stop());
  const topologies = Array.from({ length: TOPOLOGIES }, () => crypto.randomUUID());
  const [first = '', ...others] = topologies;
  const userUuid = await insertUser(db);
  for (const id of topologies) await insertTopology(db, id);
  const env = testEnv('', url);
  const token = await new Tokens({ secret: env.DECNET_JWT_SECRET ?? '', ttlSeconds: TOKEN_SECONDS }).issueAccess(
    userUuid,
  );
  const channels = [...topologies.map(topologyChannel), 'identity', 'campaign', 'orchestrator'];
  const archive = new Archive(redis.client, [...channels, 'system']);
  const recount = await Recount.begin(db, archive);
  stops.push(() => recount.dispose());
  const log = new EventLog(redis.client, { maxEvents: Number(LOG_MAX_EVENTS), idempotencyMs: 600_000 });
  const folder = await mkdtemp(join(tmpdir(), 'storm-bus-'));
  stops.push(() => rm(folder, { recursive: true, force: true }));
  const fleet = new Fleet({
    ...{ nodes, without, folder, redis: redis.socket, onLog: onNodeLog },
    env: (redisUrl, busSocket) => ({
      ...env,
      REDIS_URL: redisUrl,
      DECNET_BUS_SOCKET: busSocket,
      DECNET_BUS_GROUP: String(process.getgid?.() ?? 0),
      ROLES: '',
      DECNET_SSE_WINDOW_BYTES: WINDOW_BYTES,
      DECNET_LOG_MAX_EVENTS: LOG_MAX_EVENTS,
    }),
  });
  stops.push(() => fleet.stop());
  await fleet.start();
  await meetAttacker(log, db);
  await archive.copy();
  const watched = watches(topologies, archive);
  const ways = waysOf(token, options.clients, watched.length);
  const clients = Array.from({ length: options.clients }, (_, index) => {
    const { watch, screen } = watched[index % watched.length]?.() ?? fail();
    return new StormClient(`client ${index} on ${watch.path}`, watch, screen, ways(index), archive.past);
  });
  stops.push(() => {
    for (const client of clients) client.vanish();
  });
  const load = new Load({ random, db, token, topologies: [first, ...others], urls: () => fleet.urls });
  const bus = new BusProducers({ random, topologies: [first, ...others], fleet, past: archive.past });
  stops.push(() => bus.abandon());
  const crowd = new Crowd({ clients, fleet, archive, load, random });
  const parts = { db, redis, postgres, fleet, archive, channels, clients, crowd, load, bus, log, recount };
  return { ...parts, topologies: [first, ...others] };
}

/** A third comes by EventSource, a third by a socket that several share, and a third by both in turn. */
function waysOf(token: string, clients: number, streams: number): (index: number) => readonly [Way, ...Way[]] {
  const sse = bySse(token);
  const sockets = Array.from(
    { length: Math.ceil(clients / CLIENTS_PER_SOCKET) },
    (_, index) => new Carrier(`socket ${index}`, token),
  );
  return (index) => {
    const socket = sockets[Math.floor(index / CLIENTS_PER_SOCKET)] ?? sse;
    const all = [[sse], [socket], [socket, sse]] as const;
    // Not the same ways again for the same streams.
    return all[(index + Math.floor(index / streams)) % all.length] ?? all[0];
  };
}

function watches(topologies: readonly string[], archive: Archive): readonly (() => { watch: Watch; screen: Screen })[] {
  const everything = () => true;
  const patterns = ['topology.>', 'identity.*'];
  const isInLog = (id: string) => archive.past.holds(archive.epoch, id);
  const whole = { shows: everything, filtered: false, hasState: true };
  return [
    ...topologies.map((id) => () => ({
      watch: {
        ...{ path: `/topologies/${id}/events`, channel: topologyChannel(id), shows: everything },
        ...{ filtered: false, hasState: true },
      },
      screen: new TopologyScreen(id),
    })),
    () => ({
      watch: { path: '/identities/events', channel: 'identity', shows: everything, filtered: false, hasState: true },
      screen: new IdentityScreen(),
    }),
    () => ({
      watch: {
        ...{ path: `/events?topics=${patterns}`, channel: 'log', shows: matcher(patterns) },
        ...{ filtered: true, hasState: false },
      },
      screen: blankScreen,
    }),
    () => ({
      watch: { path: '/campaigns/events', channel: 'campaign', ...whole },
      screen: new ProjectedScreen(CAMPAIGN_ROWS, isInLog),
    }),
    () => ({
      watch: { path: '/orchestrator/events/stream', channel: 'orchestrator', ...whole },
      screen: new ProjectedScreen(ORCHESTRATOR_ROWS, isInLog),
    }),
    () => ({
      watch: {
        ...{ path: `/attackers/${STORM_ATTACKER.uuid}/events`, channel: 'log', filtered: true, hasState: true },
        shows: (topic, data) => topic.startsWith('attacker.') && concernsAttacker(topic, data),
      },
      screen: new ProjectedScreen(observationRows(STORM_ATTACKER.uuid), isInLog),
    }),
    () => ({
      watch: {
        ...{ path: '/stream', channel: 'system', filtered: true, hasState: true, startEvent: 'message' },
        shows: (topic) => topic === 'system.log',
        tells: isLine,
      },
      screen: blankScreen,
    }),
  ];
}

const ATTACKER_TOPICS = matcher(['attacker.observation.>', 'attacker.scored']);

function concernsAttacker(topic: string, data: string): boolean {
  return ATTACKER_TOPICS(topic) && JSON.parse(data).payload.attacker_uuid === STORM_ATTACKER.uuid;
}

/** A line of `/stream`: the row that the event becomes. */
function isLine(told: Record<string, unknown>, data: string): boolean {
  const [row, ...others] = told.type === 'logs' && Array.isArray(told.data) ? told.data : [];
  return others.length === 0 && row?.raw_line === JSON.parse(data).payload.raw_line;
}

/** Nobody can watch an attacker whom nobody has seen. */
async function meetAttacker(log: EventLog, db: Db): Promise<void> {
  const { uuid, ip } = STORM_ATTACKER;
  const event = createEvent('attacker.scored', 'scored', { attacker_uuid: uuid, attacker_ip: ip });
  await log.publish([{ event }]);
  const find = () => db.selectFrom('attackers').select('uuid').where('uuid', '=', uuid).executeTakeFirst();
  await until('the attacker', find, 30_000);
}

async function openStageDatabase(database: StageOptions['database'], stops: Stop[]) {
  if (database !== 'private postgres') {
    const { url, db, dispose } = await createTestDatabase(database);
    stops.push(dispose);
    return { url, db, postgres: undefined };
  }
  const postgres = await startPostgres();
  stops.push(() => postgres.stop());
  const db = openDatabase(postgres.url, quiet);
  stops.push(() => db.destroy());
  await migrate(db, 'postgres');
  return { url: postgres.url, db, postgres };
}

async function insertUser(db: Db): Promise<string> {
  const uuid = crypto.randomUUID();
  const user = { uuid, username: 'storm', password_hash: '-', role: 'admin', must_change_password: 0 } as const;
  await db
    .insertInto('users')
    .values({ ...user, tokens_valid_from: null })
    .execute();
  return uuid;
}

async function insertTopology(db: Db, id: string): Promise<void> {
  const at = new Date().toISOString();
  await db
    .insertInto('topologies')
    .values({
      ...{ id, name: id, mode: 'unihost', target_host_uuid: null, config_snapshot: '{}' },
      ...{ status: 'active', status_changed_at: at, created_at: at },
    })
    .execute();
}

function fail(): never {
  throw new Error('there is nothing to watch');
}
