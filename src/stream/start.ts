import type { Authenticator } from '../auth/authenticator.ts';
import type { SessionMemo } from '../auth/session-memo.ts';
import type { StreamAuthenticator } from '../auth/stream-auth.ts';
import type { EventLog } from '../bus/event-log.ts';
import type { Groups } from '../bus/groups.ts';
import { NodeLease } from '../bus/node-lease.ts';
import type { RedisConnections } from '../bus/redis.ts';
import type { Config } from '../config.ts';
import type { Domain } from '../domain.ts';
import type { Log } from '../telemetry/log.ts';
import { cutRoute } from './cut-route.ts';
import type { StreamDeclaration } from './declaration.ts';
import { Hub } from './hub.ts';
import { patternStream } from './pattern-stream.ts';
import { type Recovery, recovery } from './recovery.ts';
import { sessionWatch } from './session-watch.ts';
import { SharedSnapshots } from './shared-snapshots.ts';
import { sseRoutes } from './sse-routes.ts';
import { Streams } from './streams.ts';
import { UserStreams } from './user-streams.ts';

export interface StreamStartParts {
  readonly config: Pick<Config, 'stream' | 'bus'>;
  readonly node: string;
  readonly logger: Log;
  readonly redis: RedisConnections;
  readonly eventLog: EventLog;
  readonly groups: Groups;
  readonly authenticator: Authenticator;
  /** The rules of resuming; a negative control hands in one that lacks something. */
  /** What is remembered of sessions. */
  readonly sessions: Pick<SessionMemo, 'forget'>;
  readonly recovery?: Recovery | undefined;
}

/** Clients' streams, whatever carries them, and the lease of this node, without which its groups are taken away. */
export function startStreams(parts: StreamStartParts) {
  const { config, node, logger, redis, eventLog, groups, authenticator, sessions } = parts;
  const { retryMs, keepaliveMs, stallMs, maxPerUser, windowBytes } = config.stream;
  const { leaseMs } = config.bus;
  const hub = new Hub(windowBytes, logger);
  const streams = new Streams({
    connection: {
      eventLog,
      groups,
      hub,
      recovery: parts.recovery ?? recovery,
      snapshots: new SharedSnapshots(),
      logger,
      retryMs,
    },
    hub,
    slots: new UserStreams(redis.commands, node, logger, { maxPerUser, leaseMs }),
    logger,
    isStillValid: (principal, gate) => authenticator.stillValid(principal, gate),
    keepaliveMs,
    stallMs,
    leaseMs,
  });
  const lease = new NodeLease(groups, logger, { leaseMs, onLapsed: () => streams.groupsGone() });
  return {
    open: streams,
    routes: cutRoute(streams, authenticator),
    streams: [patternStream],
    listeners: [sessionWatch((userUuid) => streams.recheck(userUuid), sessions), hub],
    workers: [
      { role: 'api', start: () => lease.start(), stop: () => lease.stop() },
      { role: 'api', start: () => streams.start(), stop: () => streams.drain() },
    ],
    checks: { draining: () => ({ ok: !streams.draining }) },
    counts: () => ({ streams: streams.size }),
    drain: () => streams.drain(),
  } satisfies Domain & Record<string, unknown>;
}

export interface SseStartParts {
  readonly config: Pick<Config, 'stream'>;
  readonly streams: Streams;
  readonly streamAuthenticator: StreamAuthenticator;
  /** Of all domains. */
  readonly declarations: readonly StreamDeclaration[];
}

/** Every declared stream as server-sent events. */
export function startSse({ config, streams, streamAuthenticator, declarations }: SseStartParts) {
  const { retryMs } = config.stream;
  return { routes: sseRoutes(declarations, { streams, authenticator: streamAuthenticator, retryMs }) } satisfies Domain;
}
