import { Elysia } from 'elysia';
import { Authenticator } from './auth/authenticator.ts';
import { peerAddress } from './auth/peer-address.ts';
import { createRateLimits } from './auth/rate-limit.ts';
import { authRoutes } from './auth/routes.ts';
import { StreamAuthenticator } from './auth/stream-auth.ts';
import { Tickets } from './auth/tickets.ts';
import { Tokens } from './auth/tokens.ts';
import { userRoutes } from './auth/user-routes.ts';
import { Users } from './auth/users.ts';
import { startEmbeddedRedis } from './bus/embedded-redis.ts';
import { EventLog } from './bus/event-log.ts';
import { Groups } from './bus/groups.ts';
import { Housekeeper } from './bus/housekeeper.ts';
import { connectRedis } from './bus/redis.ts';
import { Relay } from './bus/relay.ts';
import { listeners } from './bus/subscription.ts';
import { Tail, type TailChecks, tailChecks } from './bus/tail.ts';
import { startBusSocket } from './bus-socket/server.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { type Db, engineOf, openDatabase } from './db/database.ts';
import { migrate } from './db/migrate.ts';
import { fleetRoutes } from './decky/fleet-routes.ts';
import { intervalMs } from './decky/rotation.ts';
import { Rotator } from './decky/rotator.ts';
import { serviceRoutes } from './decky/service-routes.ts';
import { seedDemo } from './demo/seed.ts';
import { seedFleet } from './demo/seed-fleet.ts';
import { startDemoTraffic } from './demo/traffic.ts';
import { describeError } from './errors.ts';
import { healthRoutes } from './health/routes.ts';
import { errorHandling } from './http/errors.ts';
import { methodsOf } from './http/methods.ts';
import { requestRules } from './http/request-rules.ts';
import { identityRoutes } from './identity/routes.ts';
import { identityStream } from './identity/stream.ts';
import { ingressRoutes } from './ingress/routes.ts';
import { outboxRoutes } from './outbox/routes.ts';
import { Reconciler } from './reconciler/reconciler.ts';
import { stopOnSignals } from './signals.ts';
import { cutRoute } from './stream/cut-route.ts';
import { Hub } from './stream/hub.ts';
import { patternStream } from './stream/pattern-stream.ts';
import { type Recovery, recovery } from './stream/recovery.ts';
import { sessionWatch } from './stream/session-watch.ts';
import { SharedSnapshots } from './stream/shared-snapshots.ts';
import { sseRoutes } from './stream/sse-routes.ts';
import { Streams } from './stream/streams.ts';
import { UserStreams } from './stream/user-streams.ts';
import { installationId } from './substrate/claim.ts';
import { recordSubstrate } from './substrate/record.ts';
import type { Substrate } from './substrate/substrate.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { deletionWatch } from './topology/lifecycle/deleted.ts';
import { LifecycleWorker } from './topology/lifecycle/lifecycle-worker.ts';
import { Mutator } from './topology/mutator/mutator.ts';
import { topologyRoutes } from './topology/routes.ts';
import { topologyStream } from './topology/stream.ts';
import { pageRoutes } from './web/page.ts';
import { Worker } from './worker/worker.ts';
import { WsSockets, websocketOptions, wsRoutes } from './ws/ws-routes.ts';

export interface StartOptions {
  /** Seeds a demonstration fleet and keeps it busy; default false. */
  readonly demo?: boolean;
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
  readonly url: string;
  readonly db: Db;
  /** Drains the streams, then stops everything that was started; safe to call twice. */
  stop(): Promise<void>;
}

/** DECNET's answer to GET /config where this project has no setting of its own. */
const DEPLOYMENT_LIMIT = 10;
/** Something happens in the demonstration so often. */
const DEMO_INTERVAL_MS = 400;
/** A request under way may take so long to finish when the server stops. */
const STOP_GRACE_MS = 5000;
/** How long any one part may take to stop. */
const STOP_PART_MS = 15_000;
/** The largest body of a request in bytes: DECNET's bus takes 1 MiB of event (contract §2.2). */
const MAX_BODY_BYTES = 2 * 1024 * 1024;

type Stop = () => unknown;

/** Wires and starts a process. What was started is stopped again when a later step fails. */
export async function start(config: Config, options: StartOptions = {}): Promise<App> {
  const log = options.log ?? createLog(config.logLevel);
  const stops: Stop[] = [];
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= runAll(stops.reverse(), log);
    return stopping;
  };
  try {
    return { ...(await wire(config, options, log, stops)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function wire(config: Config, options: StartOptions, log: Log, stops: Stop[]) {
  const node = crypto.randomUUID().slice(0, 8);
  const db = openDatabase(config.db.url, log);
  stops.push(() => db.destroy());
  await migrate(db, engineOf(config.db.url));

  const redisUrl = config.bus.redisUrl ?? (await embeddedRedis(config, log, stops));
  const redis = connectRedis(redisUrl, log);
  stops.push(() => redis.close());

  const eventLog = new EventLog(redis.commands, config.bus);
  const groups = new Groups(node, redis.commands, redis.replay, config.bus);
  const relay = new Relay(db, eventLog, node, log, options.protections?.testified);
  const substrate = options.substrate ?? (await substrateOf(config, db));
  const { mutationInterval } = config.pipeline;
  // Woken by what this process commits, so that nothing waits for the poll while Redis is down.
  const onCommitted = () => {
    relay.wake();
    mutator.wake();
  };
  const work = { db, substrate, node, log, logger: log, onCommitted: () => relay.wake() };
  const mutator = new Mutator(work);
  const rotator = new Rotator({ ...work, fleetIntervalMs: intervalMs(mutationInterval) ?? null });
  const lifecycle = new LifecycleWorker(work);
  // DECNET's mutator changes topologies and rotates the fleet: one worker to the outside.
  const worker = new Worker({
    name: 'mutator',
    events: eventLog,
    log,
    stop: () => Promise.all([mutator.stop(), rotator.stop()]),
  });

  const users = new Users(db, onCommitted);
  if (config.auth.adminPassword !== undefined) await users.seedAdmin(config.auth.adminUser, config.auth.adminPassword);
  const tokens = new Tokens({ secret: config.auth.jwtSecret, ttlSeconds: config.auth.tokenTtlSeconds });
  const authenticator = new Authenticator(tokens, users);
  const tickets = new Tickets(redis.commands, log);
  const limits = createRateLimits(redis.commands, config.auth.limiter);

  const hub = new Hub(config.stream.windowBytes, log);
  const streams = new Streams({
    connection: {
      log: eventLog,
      groups,
      hub,
      recovery: options.protections?.recovery ?? recovery,
      snapshots: new SharedSnapshots(),
      logger: log,
      retryMs: config.stream.retryMs,
    },
    hub,
    slots: new UserStreams(redis.commands, node, log, {
      maxPerUser: config.stream.maxPerUser,
      leaseMs: config.bus.leaseMs,
    }),
    logger: log,
    isStillValid: (principal, gate) => authenticator.stillValid(principal, gate),
    keepaliveMs: config.stream.keepaliveMs,
    stallMs: config.stream.stallMs,
    leaseMs: config.bus.leaseMs,
  });
  const watch = sessionWatch((userUuid) => streams.recheck(userUuid));
  const deletions = deletionWatch((channel) => streams.endChannel(channel));
  const busSocket = await startBusSocket({ options: config.busSocket, events: eventLog, logger: log });
  if (busSocket !== undefined) stops.push(() => busSocket.stop());
  const workers = config.pipeline.workers ? [mutator, rotator, lifecycle, worker] : [];
  const listening = [...workers, ...(busSocket === undefined ? [] : [busSocket])].map((part) => part.listener);
  const listener = listeners([watch, hub, deletions, ...listening], log);
  const tail = new Tail(redis.openTail, eventLog, listener, log, options.protections?.tailChecks ?? tailChecks);
  const housekeeper = new Housekeeper(redis.commands, groups, log, {
    ...config.bus,
    onLapsed: () => streams.groupsGone(),
  });

  if (options.demo) {
    await seedDemo(db, Date.now());
    await db.transaction().execute((trx) => seedFleet(trx, Date.now()));
  }
  const settings = { deployment_limit: DEPLOYMENT_LIMIT, global_mutation_interval: mutationInterval };
  const peer = peerAddress(config.http.trustedProxies);
  const authParts = { authenticator, users, tokens, tickets, limits, log, peerAddress: peer };
  const declarations = [topologyStream(db), identityStream(db), patternStream];
  const { queryToken } = config.auth;
  const streamAuthenticator = new StreamAuthenticator({ authenticator, tickets, tokens, queryToken });
  const sockets = new WsSockets({
    streams,
    declarations,
    authenticator: {
      authenticateStream: (request) => streamAuthenticator.authenticateStream(request),
      authenticateToken: (token) => authenticator.authenticateToken(token),
      stillValid: (principal, gate) => authenticator.stillValid(principal, gate),
    },
    log: eventLog,
    logger: log,
    limits: { maxMessageBytes: MAX_BODY_BYTES, maxInFlightBytes: 2 * MAX_BODY_BYTES, authMs: config.ws.authMs },
    retryMs: config.stream.retryMs,
  });
  const api = new Elysia({ prefix: '/api/v1' })
    .use(authRoutes(authParts))
    .use(userRoutes({ authenticator, users, settings, log }))
    .use(topologyRoutes({ db, authenticator, onCommitted, onLifecycle: () => lifecycle.wake() }))
    .use(serviceRoutes({ db, authenticator, substrate, onCommitted, log }))
    .use(fleetRoutes({ db, authenticator, onRequested: () => rotator.wake() }))
    .use(identityRoutes({ db, authenticator }))
    .use(ingressRoutes({ authenticator, log: eventLog, logger: log }))
    .use(outboxRoutes({ db, authenticator, onCommitted, logger: log }))
    .use(cutRoute(streams, authenticator))
    .use(sseRoutes(declarations, { streams, authenticator: streamAuthenticator, retryMs: config.stream.retryMs }))
    .use(wsRoutes(sockets, config.http.corsOrigins));
  const app = new Elysia({
    // Two processes on one port would share it silently.
    serve: { reusePort: false, maxRequestBodySize: MAX_BODY_BYTES, development: false },
    websocket: websocketOptions(MAX_BODY_BYTES),
  });
  app
    .use(requestRules(config.http.corsOrigins))
    .use(errorHandling(log, { developer: config.developer, methodsOf: (path) => methodsOf(app, path) }))
    .use(healthRoutes({ db, pingRedis: () => redis.commands.ping(), tail, relay, streams, busSocket, logger: log }))
    .use(await pageRoutes())
    .use(api);

  tail.start();
  stops.push(() => tail.stop());
  stops.push(() => housekeeper.stop().then(() => groups.retire()));
  await housekeeper.start().catch((error) => log.warn('starting without redis', { error: describeError(error) }));
  relay.start();
  stops.push(() => relay.stop());
  for (const part of workers) {
    part.start();
    stops.push(() => part.stop());
  }
  const reconciler = new Reconciler({ db, substrate, log });
  if (config.pipeline.workers) reconciler.start();
  stops.push(() => reconciler.stop());
  streams.start();
  sockets.start(config.stream.keepaliveMs);
  app.listen({ hostname: config.http.host, port: config.http.port });
  stops.push(() => stopServer(app, streams, sockets));
  if (options.demo) {
    const publish = (event: Parameters<EventLog['publish']>[0][number]['event']) => eventLog.publish([{ event }]);
    const traffic = startDemoTraffic({ db, publish, onCommitted, log, intervalMs: DEMO_INTERVAL_MS });
    stops.push(() => traffic.stop());
  }
  const url = `http://${config.http.host}:${app.server?.port}`;
  log.info('listening', {
    url,
    node,
    database: engineOf(config.db.url),
    redis: config.bus.redisUrl ? 'external' : 'embedded',
  });
  return { url, db };
}

async function substrateOf({ pipeline }: Config, db: Db): Promise<Substrate> {
  if (pipeline.substrate === 'record') return recordSubstrate;
  // Loaded only where it is used: the client library takes longer to load than all the rest to start.
  const { createDockerSubstrate } = await import('./substrate/docker.ts');
  const { dockerSocket: socketPath, dockerImage: image } = pipeline;
  return createDockerSubstrate({ socketPath, image, installation: await installationId(db) });
}

async function embeddedRedis(config: Config, log: Log, stops: Stop[]): Promise<string> {
  const server = await startEmbeddedRedis(config.bus.dataDir, log);
  stops.push(() => server.stop());
  return server.socket;
}

/** Refuses new connections, ends the streams, and lets requests under way finish. */
async function stopServer(app: Elysia, streams: Streams, sockets: WsSockets): Promise<void> {
  // Bun's own server: Elysia's stop() cannot be asked a second time, to insist.
  const { server } = app;
  const stopped = server?.stop(false);
  streams.drain();
  void sockets.drain();
  await Promise.race([stopped, Bun.sleep(STOP_GRACE_MS)]);
  await server?.stop(true);
}

/** One part that waits for a service which has vanished must not keep the others from stopping. */
async function inTime(stop: Stop): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not stopped within ${STOP_PART_MS} ms`)), STOP_PART_MS);
  try {
    await Promise.race([stop(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function runAll(stops: readonly Stop[], log: Log): Promise<void> {
  for (const stop of stops) {
    try {
      await inTime(stop);
    } catch (error) {
      log.warn('a part did not stop cleanly', { error: describeError(error) });
    }
  }
}

/** `bun run start`: production, everything from the environment. */
function main(): void {
  const fail = (error: unknown): never => {
    const problem = error instanceof ConfigError ? error.message : `cannot start: ${describeError(error)}`;
    createLog('error').error(problem);
    process.exit(1);
  };
  try {
    const starting = start(loadConfig(process.env));
    starting.catch(fail);
    // From the first moment: an embedded Redis that has just been started is stopped too.
    stopOnSignals(async () => (await starting).stop(), fail);
  } catch (error) {
    fail(error);
  }
}

if (import.meta.main) main();
