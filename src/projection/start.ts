import { attackerProjection } from '../attackers/attacker-projection.ts';
import type { EventLog } from '../bus/event-log.ts';
import type { TailListener } from '../bus/tail.ts';
import { campaignProjection } from '../campaigns/campaign-projection.ts';
import type { Db, Engine } from '../db/database.ts';
import { logProjection } from '../logs/log-projection.ts';
import { orchestratorProjection } from '../orchestrator/orchestrator-projection.ts';
import type { Log } from '../telemetry/log.ts';
import { heartbeatProjection } from '../worker/heartbeat-projection.ts';
import type { Projection } from './projection.ts';
import { lagOf, type ProjectionLag, Projections, type ProjectionsParts } from './projections.ts';

export interface ProjectionStartParts {
  readonly db: Db;
  readonly engine: Engine;
  readonly eventLog: EventLog;
  /** A connection for large answers. */
  readonly redis: ProjectionsParts['redis'];
  readonly node: string;
  readonly logger: Log;
  /** Entries that the log keeps, approximately. */
  readonly maxEvents: number;
}

/** A running domain: what the process wires of it. */
export interface StartedProjections {
  readonly listener: TailListener;
  /** For `/readyz`. */
  lag(): Promise<ProjectionLag[]>;
  start(): void;
  stop(): Promise<void>;
}

/** All read models of this program. */
export function allProjections(engine: Engine): readonly Projection[] {
  return [logProjection(engine), attackerProjection, campaignProjection, orchestratorProjection, heartbeatProjection];
}

/** The projections of this process; {@link StartedProjections.start} begins them where this process works. */
export function startProjections(parts: ProjectionStartParts): StartedProjections {
  const { db, engine, eventLog, redis, node, logger, maxEvents } = parts;
  const projections = allProjections(engine);
  const running = new Projections({ db, redis, node, logger, projections, memory: memoryFor(maxEvents) });
  return {
    listener: running.listener,
    lag: () => lagOf(db, eventLog, projections),
    start: () => running.start(),
    stop: () => running.stop(),
  };
}

/** More than the log keeps: `MAXLEN ~` leaves a node of a stream more, and what was lost with a crash is on top. */
export function memoryFor(maxEvents: number): number {
  return Math.ceil(maxEvents * 1.5) + 1000;
}
