import { Elysia } from 'elysia';
import { asyncapiRoutes } from './asyncapi/routes.ts';
import { startAttackers } from './attackers/start.ts';
import { startAuth } from './auth/start.ts';
import { Background } from './background/background.ts';
import type { EventLog } from './bus/event-log.ts';
import { startBus } from './bus/start.ts';
import { listeners } from './bus/subscription.ts';
import { Tail, type TailChecks, tailChecks } from './bus/tail.ts';
import { startDecnetBus } from './bus-socket/start.ts';
import { startCampaigns } from './campaigns/start.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { type DatabasePart, type Db, engineOf, openDatabase } from './db/database.ts';
import { migrate } from './db/migrate.ts';
import { startDecky } from './decky/start.ts';
import { seedDemonstration, startDemo } from './demo/start.ts';
import { startDemoWorkers } from './demo/workers.ts';
import { type Domain, routesOf, runningOf } from './domain.ts';
import { describeError } from './errors.ts';
import { databaseCheck, tailCheck } from './health/checks.ts';
import { startHttpServer } from './http-server.ts';
import { startIdentity } from './identity/start.ts';
import { startIngress } from './ingress/start.ts';
import type { Route } from './openapi/document.ts';
import { openapiRoutes } from './openapi/routes.ts';
import { startOrchestrator } from './orchestrator/start.ts';
import { startOutbox } from './outbox/start.ts';
import { startOutside } from './outside/start.ts';
import { startProjection } from './projection/start.ts';
import { startReconciler } from './reconciler/start.ts';
import { divided, isBackground, type ProcessRoles } from './roles.ts';
import { configuredSettings, startSettings } from './settings/start.ts';
import { stopOnSignals } from './signals.ts';
import { Stops } from './stops.ts';
import type { Recovery } from './stream/recovery.ts';
import { startSse, startStreams } from './stream/start.ts';
import { configuredSubstrate } from './substrate/configured.ts';
import type { Substrate } from './substrate/substrate.ts';
import { startTarpit } from './tarpit/start.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { startTopology } from './topology/start.ts';
import { pageRoutes } from './web/page.ts';
import { startWebhooks } from './webhook/start.ts';
import { startReporting } from './worker/start.ts';
import { startWorkers } from './workers/start.ts';
import { startWs } from './ws/start.ts';

export interface StartOptions {
  /** Seeds a demonstration fleet and keeps it busy; default false. */
  readonly demo?: boolean;
  /** Leaves what can fill a core to a child process; default false: all in this process. */
  readonly background?: boolean;
  /** False in a process that its parent answers for: it listens on nothing; default true. */
  readonly serve?: boolean;
  readonly log?: Log;
  /** What runs the deckies; by default what the configuration names. */
  readonly substrate?: Substrate;
  /** The protections of the streams; a negative control hands in one that lacks something. */
  readonly protections?: {
    readonly recovery?: Recovery;
    readonly tailChecks?: TailChecks;
    /** What the witness of the log is compared with. */
    readonly testified?: Pick<EventLog, 'testify'>;
  };
}

export interface App {
  /** Empty for one that does not listen. */
  readonly url: string;
  readonly db: Db;
  /** What is served. */
  readonly routes: readonly Route[];
  /** Drains the streams, then stops everything that was started; safe to call twice. */
  stop(): Promise<void>;
}

/** Who takes his time is not woken for each event. */
const TAIL_REST_MS = 10;

/** What every domain may be given. */
type House = Awaited<ReturnType<typeof open>>;

type Furnished = Awaited<ReturnType<typeof furnish>>;

/** The HTTP API with the types of its routes. */
export type Api = Furnished['api'];

/** Wires and starts a process. What was started is stopped again when a later step fails. */
export async function start(config: Config, options: StartOptions = {}): Promise<App> {
  const logger = options.log ?? createLog(config.logLevel);
  const stops = new Stops(logger);
  const stop = () => stops.stopAll();
  const { own, background } = options.background ? divided(config.roles) : { own: config.roles, background: noRoles };
  try {
    const part = background.size > 0 ? 'serving' : isBackground(own) ? 'background' : 'all';
    const house = await open({ ...config, roles: own }, options, part, logger, stops);
    const served = await run(house, options, await furnish(house, options), background);
    return { ...served, db: house.db, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What all domains stand on. */
async function open(config: Config, options: StartOptions, part: DatabasePart, logger: Log, stops: Stops) {
  const node = crypto.randomUUID().slice(0, 8);
  const db = openDatabase(config.db.url, logger, part);
  stops.add(() => db.destroy());
  await migrate(db, engineOf(config.db.url));
  const testified = options.protections?.testified;
  const bus = await startBus({ config: config.bus, db, node, logger, stops, testified });
  const { redis, eventLog, groups, commits, wakeRelay } = bus;
  const substrate = options.substrate ?? (await configuredSubstrate(config, db));
  // Set when the tail is there.
  const heard = { isCurrent: () => false };
  const isCurrent = () => heard.isCurrent();
  const settings = configuredSettings(config, db, commits);
  const { onCommitted } = commits;
  const auth = await startAuth({ config, db, redis, logger, settings, onCommitted, isCurrent });
  const { authenticator, streamAuthenticator, sessions } = auth;
  const common = { config, logger, stops, node, db, redis, eventLog, groups, commits, wakeRelay };
  const base = { ...common, substrate, settings, heard };
  const streaming = startStreams({ ...base, authenticator, sessions, recovery: options.protections?.recovery });
  return { ...base, bus, auth, authenticator, streamAuthenticator, streaming, streams: streaming.open };
}

/** The domains. Another one is another line. */
async function furnish(house: House, options: StartOptions) {
  const { roles } = house.config;
  const domains = [
    house.streaming,
    house.bus,
    house.auth,
    startTopology(house),
    startDecky(house),
    startSettings(house),
    startTarpit(house),
    startWorkers(house),
    startOutside(house),
    startIdentity(house),
    startProjection(house),
    startAttackers(house),
    startCampaigns(house),
    startOrchestrator(house),
    startIngress(house),
    startOutbox(house),
    startReconciler(house),
    startWebhooks(house),
    await startDecnetBus(house),
  ] as const;
  const parts: readonly Domain[] = domains;
  const declarations = parts.flatMap(({ streams }) => streams ?? []);
  const doors = [startSse({ ...house, declarations }), startWs({ ...house, declarations })] as const;
  const played = options.demo ? [startDemoWorkers()] : [];
  const reporting = startReporting({ ...house, domains: [...domains, ...played], roles });
  for (const domain of parts) house.stops.add(() => domain.stop?.());
  if (options.demo) await seedDemonstration(house);
  const api = new Elysia({ prefix: '/api/v1' }).use(routesOf([...domains, ...doors]));
  return {
    api,
    routes: roles.has('api') ? [await pageRoutes(), openapiRoutes(), asyncapiRoutes(declarations), api] : [],
    running: runningOf([...domains, ...doors, reporting], roles),
  };
}

const noRoles: ProcessRoles = new Set();

/**
 * Starts what was made, the tail first and the server last.
 * @param roles of the background process; with none there is none
 */
async function run(house: House, options: StartOptions, { routes, running }: Furnished, roles: ProcessRoles) {
  const { config, logger, stops, db, redis, eventLog, bus } = house;
  const tail = new Tail(
    redis.openTail,
    eventLog,
    listeners(running.listeners, logger),
    logger,
    options.protections?.tailChecks ?? tailChecks,
    isBackground(config.roles) ? TAIL_REST_MS : 0,
  );
  house.heard.isCurrent = () => tail.isCurrent;
  // Who hears nothing needs to read nothing.
  const isRead = running.listeners.length > 0;
  if (isRead) tail.start();
  stops.add(() => tail.stop());
  for (const worker of running.workers) {
    stops.add(() => worker.stop());
    await worker.start();
  }
  const own = { ...config, roles, bus: { ...config.bus, redisUrl: bus.redisUrl } };
  const background = roles.size > 0 ? new Background(own, logger) : undefined;
  stops.add(() => background?.stop());
  background?.start();
  const checks = {
    database: () => databaseCheck(db),
    redis: () => redis.commands.ping().then(() => ({ ok: true })),
    ...(isRead ? { tail: () => tailCheck(tail) } : {}),
    ...running.checks,
    ...(background ? { background: () => background.check() } : {}),
  };
  const server =
    options.serve === false ? undefined : startHttpServer({ config, logger, running: { ...running, checks }, routes });
  stops.add(() => server?.stop());
  if (options.demo) {
    const demo = startDemo({ ...house, onCommitted: house.commits.onCommitted });
    stops.add(() => demo.stop());
  }
  const { url = '', routes: served = [] } = server ?? {};
  logger.info(server === undefined ? 'at work' : 'listening', {
    ...(server === undefined ? {} : { url }),
    node: house.node,
    database: engineOf(config.db.url),
    redis: config.bus.redisUrl ? 'external' : 'embedded',
  });
  return { url, routes: served };
}

/** `bun run start`: production, everything from the environment. */
function main(): void {
  const fail = (error: unknown): never => {
    const problem = error instanceof ConfigError ? error.message : `cannot start: ${describeError(error)}`;
    createLog('error').error(problem);
    process.exit(1);
  };
  try {
    const starting = start(loadConfig(process.env), { background: true });
    starting.catch(fail);
    // From the first moment: an embedded Redis that has just been started is stopped too.
    stopOnSignals(async () => (await starting).stop(), fail);
  } catch (error) {
    fail(error);
  }
}

if (import.meta.main) main();
