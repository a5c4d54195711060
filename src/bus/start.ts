import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import type { Domain } from '../domain.ts';
import { relayCheck } from '../health/checks.ts';
import type { Stops } from '../stops.ts';
import type { Log } from '../telemetry/log.ts';
import { Commits } from './commits.ts';
import { startEmbeddedRedis } from './embedded-redis.ts';
import { EventLog } from './event-log.ts';
import { Groups } from './groups.ts';
import { Housekeeper } from './housekeeper.ts';
import { connectRedis } from './redis.ts';
import { Relay } from './relay.ts';

export interface BusStartParts {
  readonly config: Config['bus'];
  readonly db: Db;
  readonly node: string;
  readonly logger: Log;
  readonly stops: Stops;
  /** What the witness of the log is compared with; by default the log. */
  readonly testified?: Pick<EventLog, 'testify'> | undefined;
}

/** Redis and the log in it: the embedded server where none is configured, the relay, the housekeeper. */
export async function startBus({ config, db, node, logger, stops, testified }: BusStartParts) {
  const redisUrl = config.redisUrl ?? (await embeddedRedis(config.dataDir, logger, stops));
  const redis = connectRedis(redisUrl, logger);
  stops.add(() => redis.close());
  const eventLog = new EventLog(redis.commands, config);
  const groups = new Groups(node, redis.commands, redis.replay, config);
  const relay = new Relay(db, eventLog, node, logger, testified);
  const housekeeper = new Housekeeper(redis.commands, groups, logger, config);
  const commits = new Commits();
  const wakeRelay = () => relay.wake();
  commits.wakes(wakeRelay);
  return {
    redis,
    /** For other processes of this node: its secrets are not for logs. */
    redisUrl,
    eventLog,
    groups,
    commits,
    wakeRelay,
    workers: [
      { role: 'housekeeper', start: () => housekeeper.start(), stop: () => housekeeper.stop() },
      {
        role: 'relay',
        checks: { relay: () => relayCheck(relay) },
        start: () => relay.start(),
        stop: () => relay.stop(),
      },
    ],
  } satisfies Domain & Record<string, unknown>;
}

async function embeddedRedis(dataDir: string, logger: Log, stops: Stops): Promise<string> {
  const server = await startEmbeddedRedis(dataDir, logger);
  stops.add(() => server.stop());
  return server.socket;
}
