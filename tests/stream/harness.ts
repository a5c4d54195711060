import { Redis } from 'ioredis';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { Groups } from '../../src/bus/groups.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Tail } from '../../src/bus/tail.ts';
import { Connection } from '../../src/stream/connection.ts';
import { Hub } from '../../src/stream/hub.ts';
import { prepareOpening } from '../../src/stream/preparation.ts';
import { type Resumption, recovery } from '../../src/stream/recovery.ts';
import { SharedSnapshots } from '../../src/stream/shared-snapshots.ts';
import type { ConnectionParts, Subscription } from '../../src/stream/subscription.ts';
import type { View } from '../../src/stream/view.ts';
import { quiet } from '../support/database.ts';
import { startTestRedis, type TestRedis, whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { RecordingTransport } from './recording-transport.ts';

/** Shows all of a channel. */
export const EVERYTHING: View = {
  key: 'all',
  channel: 'identity',
  eventName: (topic) => topic.slice('identity.'.length),
  shows: () => true,
  filtered: false,
};

/** All that connections need, as a node has it: a Redis of their own, a tail, a hub. */
export interface Harness {
  readonly server: TestRedis;
  readonly redis: Redis;
  readonly connections: RedisConnections;
  readonly log: EventLog;
  readonly tail: Tail;
  /** Takes the tail's connection away until {@link Harness.tailBack}: everybody else reaches Redis. */
  tailAway(): Promise<void>;
  tailBack(): void;
  /** What {@link Harness.connect} hands to connections; a test may put something else in. */
  parts: ConnectionParts;
  publish(...topics: string[]): Promise<void>;
  connect(
    options?: Partial<Subscription>,
    paper?: RecordingTransport,
  ): Promise<{ readonly paper: RecordingTransport; readonly connection: Connection }>;
  stop(): Promise<void>;
}

export async function createHarness(): Promise<Harness> {
  const server = await startTestRedis();
  const connections = connectRedis(server.url, quiet);
  await whenReady(connections);
  const log = new EventLog(connections.commands, { maxEvents: 10_000, idempotencyMs: 60_000 });
  const hub = new Hub(64 * 1024);
  const groups = new Groups('node', connections.commands, connections.replay, { leaseMs: 60_000 });
  let [isAway, current] = [false, connections.openTail()];
  current.disconnect();
  const openTail = () => {
    // A path where nobody listens: the tail goes on trying.
    current = isAway ? new Redis({ path: '/nowhere', retryStrategy: () => null }) : connections.openTail();
    current.on('error', () => {});
    return current;
  };
  const tail = new Tail(openTail, log, hub, quiet);
  tail.start();
  await until('the tail to begin', () => tail.cursor.epoch !== '');
  const open: Connection[] = [];
  const harness: Harness = {
    server,
    redis: server.client(),
    connections,
    log,
    tail,
    async tailAway() {
      isAway = true;
      const last = current;
      last.disconnect();
      await until('the tail to be away', () => last.status === 'end');
    },
    tailBack() {
      isAway = false;
    },
    parts: { eventLog: log, groups, hub, recovery, snapshots: new SharedSnapshots(), logger: quiet, retryMs: 1000 },
    async publish(...topics) {
      await log.publish(topics.map((topic) => ({ event: createEvent(topic, '', { n: crypto.randomUUID() }) })));
    },
    async connect(options = {}, paper = new RecordingTransport()) {
      const request: Resumption = options.request ?? { kind: 'fresh' };
      const subscription: Subscription = { view: EVERYTHING, once: false, ...options, request };
      const connection = new Connection(crypto.randomUUID(), subscription, harness.parts, paper, () => {});
      open.push(connection);
      connection.start(await prepareOpening(subscription, harness.parts, request));
      return { paper, connection };
    },
    async stop() {
      for (const connection of open) connection.close('gone');
      tail.stop();
      connections.close();
      await server.stop();
    },
  };
  return harness;
}
