import { Elysia } from 'elysia';
import { guard, type HeaderAuthenticator } from '../auth/guard.ts';
import { createEvent } from '../bus/event.ts';
import type { EventLog } from '../bus/event-log.ts';
import type { RedisConnections } from '../bus/redis.ts';
import { topics } from '../bus/topic.ts';
import { within } from '../bus/within.ts';
import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import { AppError, describeError } from '../errors.ts';
import type { Log } from '../telemetry/log.ts';
import { listWorkers, type WorkerName, workerNamed } from './registry.ts';
import { workerOperations } from './schemas.ts';
import { startAll } from './start-all.ts';
import { Supervisor } from './supervisor.ts';

export interface WorkersStartParts {
  readonly config: Pick<Config, 'supervisor'>;
  readonly db: Db;
  readonly redis: Pick<RedisConnections, 'commands'>;
  readonly eventLog: Pick<EventLog, 'publish'>;
  readonly logger: Log;
  readonly authenticator: HeaderAuthenticator;
}

/** Redis counts as gone when it has not answered by then. */
const PING_MS = 1000;

/** The registry of workers, and how they are stopped and started (contract §8, P4.1). */
export function startWorkers(parts: WorkersStartParts) {
  const { config, db, redis, authenticator } = parts;
  const { command, workers } = config.supervisor;
  const supervisor = command === undefined ? undefined : new Supervisor({ command, workers });
  const isInstalled = (name: WorkerName) => supervisor?.canStart(name) ?? false;
  const list = async () => {
    const bus_connected = await answers(() => redis.commands.ping());
    const now = Date.now();
    // Who answers here is the API, and what it publishes to is the bus: neither needs a heartbeat to be known to live.
    const workers = await listWorkers(db, isInstalled, now, bus_connected ? ['api', 'bus'] : ['api']);
    return { workers, generated_at: now / 1000, bus_connected };
  };
  const reads = new Elysia().use(guard(authenticator, 'viewer')).get('/workers', list, workerOperations.list);
  const writes = new Elysia()
    .use(guard(authenticator, 'admin'))
    .post('/workers/start-all', async () => startAll(supervisor, (await list()).workers), workerOperations.startAll)
    .post(
      '/workers/:name/stop',
      async ({ params, principal, set }) => {
        const worker = known(params.name);
        await tellToStop(parts, worker, principal.username);
        set.status = 202;
        return { accepted: true, worker, action: 'stop' };
      },
      workerOperations.stop,
    )
    .post(
      '/workers/:name/start',
      async ({ params, set }) => {
        const worker = known(params.name);
        if (supervisor === undefined || !supervisor.canStart(worker)) {
          throw new AppError('unavailable', `No supervisor that starts ${worker} is configured on this server`);
        }
        await supervisor.start(worker);
        set.status = 202;
        return { accepted: true, worker, action: 'start' };
      },
      workerOperations.start,
    );
  return { routes: new Elysia({ name: 'workers' }).use(reads).use(writes) } satisfies Domain;
}

/** Fire and forget: whether it stops shows in its heartbeats. */
async function tellToStop({ eventLog, logger }: WorkersStartParts, worker: WorkerName, user: string): Promise<void> {
  const order = { action: 'stop', requested_by: user, ts: Date.now() / 1000 };
  try {
    await eventLog.publish([{ event: createEvent(topics.systemControl(worker), 'control', order) }]);
  } catch (error) {
    logger.warn('a worker could not be told to stop', { worker, error: describeError(error) });
    throw new AppError('unavailable', 'bus unavailable');
  }
}

function known(name: string | null): WorkerName {
  const worker = workerNamed(name ?? '');
  if (worker === undefined) throw new AppError('not_found', `Unknown worker: '${name}'`);
  return worker;
}

async function answers(ping: () => Promise<unknown>): Promise<boolean> {
  try {
    await within(ping(), PING_MS, 'a ping');
    return true;
  } catch {
    return false;
  }
}
