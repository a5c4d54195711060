import { attackerProjection } from '../attackers/attacker-projection.ts';
import { attackerStream } from '../attackers/attacker-stream.ts';
import type { HeaderAuthenticator } from '../auth/guard.ts';
import type { EventLog } from '../bus/event-log.ts';
import type { RedisConnections } from '../bus/redis.ts';
import { campaignProjection } from '../campaigns/campaign-projection.ts';
import { campaignStream } from '../campaigns/campaign-stream.ts';
import type { Config } from '../config.ts';
import { type Db, type Engine, engineOf } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import type { Check } from '../health/routes.ts';
import { identityProjection } from '../identity/identity-projection.ts';
import { logProjection } from '../logs/log-projection.ts';
import { logStream } from '../logs/log-stream.ts';
import { logRoutes } from '../logs/routes.ts';
import { StatsBoard } from '../logs/stats.ts';
import { orchestratorProjection } from '../orchestrator/orchestrator-projection.ts';
import { orchestratorStream } from '../orchestrator/orchestrator-stream.ts';
import { isBackground } from '../roles.ts';
import type { Log } from '../telemetry/log.ts';
import { heartbeatProjection } from '../worker/heartbeat-projection.ts';
import { DEFAULT_LIMITS, type Limits, limitsOf } from './keep.ts';
import type { Projection } from './projection.ts';
import { lagOf, Projections } from './projections.ts';

export interface ProjectionStartParts {
  readonly config: Pick<Config, 'db' | 'bus' | 'keep' | 'roles'>;
  readonly db: Db;
  readonly eventLog: EventLog;
  readonly redis: RedisConnections;
  readonly node: string;
  readonly authenticator: HeaderAuthenticator;
  readonly logger: Log;
}

/** All read models of this program. */
export function allProjections(engine: Engine, limits: Limits = limitsOf(DEFAULT_LIMITS)): readonly Projection[] {
  return [
    logProjection(engine),
    attackerProjection(engine, limits),
    identityProjection(engine, limits),
    campaignProjection(engine, limits),
    orchestratorProjection,
    heartbeatProjection,
  ];
}

/** Read models: rows that follow from the log alone, their streams, and the reads of the landing page and the logs. */
export function startProjection({ config, db, eventLog, redis, node, authenticator, logger }: ProjectionStartParts) {
  const projections = allProjections(engineOf(config.db.url), config.keep.rows);
  // Large answers go over a connection that nobody's publishing waits for.
  const [replay = redis.commands] = redis.replay;
  const memory = memoryFor(config.bus.maxEvents);
  const projector = new Projections({
    db,
    engine: engineOf(config.db.url),
    redis: replay,
    node,
    logger,
    projections,
    memory,
    keep: config.keep,
    servesNobody: isBackground(config.roles),
  });
  const checks = { projections: () => lagCheck(db, eventLog, projections) };
  const board = new StatsBoard(db, logger);
  return {
    routes: logRoutes({ db, engine: engineOf(config.db.url), authenticator }),
    streams: [campaignStream(db), orchestratorStream(db), attackerStream(db), logStream({ db, board })],
    // Whoever is asked can tell: rows and log are the same for all.
    checks,
    workers: [
      {
        role: 'projector',
        listener: projector.listener,
        checks,
        start: () => projector.start(),
        stop: () => projector.stop(),
      },
    ],
  } satisfies Domain;
}

/** Always ok: rows that are late make no stream late, and another node would have the same rows. For people to look at. */
async function lagCheck(db: Db, eventLog: EventLog, projections: readonly Projection[]): Promise<Check> {
  const lags = await lagOf(db, eventLog, projections);
  return { ok: true, ...Object.fromEntries(lags.map(({ name, ...lag }) => [name, lag])) };
}

/** More than the log keeps: `MAXLEN ~` leaves a node of a stream more, and what was lost with a crash is on top. */
export function memoryFor(maxEvents: number): number {
  return Math.ceil(maxEvents * 1.5) + 1000;
}
