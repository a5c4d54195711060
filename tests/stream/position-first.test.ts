import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { topologyChannel } from '../../src/bus/channel.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { Groups } from '../../src/bus/groups.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Relay } from '../../src/bus/relay.ts';
import { Tail } from '../../src/bus/tail.ts';
import { Connection } from '../../src/stream/connection.ts';
import { subscriptionTo } from '../../src/stream/declaration.ts';
import { Hub } from '../../src/stream/hub.ts';
import { type Prepared, prepareOpening } from '../../src/stream/preparation.ts';
import { type Resumption, recovery } from '../../src/stream/recovery.ts';
import { SharedSnapshots } from '../../src/stream/shared-snapshots.ts';
import type { ConnectionParts, Subscription } from '../../src/stream/subscription.ts';
import { enqueueMutation } from '../../src/topology/enqueue.ts';
import { topologyStream } from '../../src/topology/stream.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { startTestRedis, type TestRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { RecordingTransport } from './recording-transport.ts';

/** How often a mutation was told: in the snapshot or as an event. */
function told(paper: RecordingTransport, mutationId: string): { inSnapshot: number; asEvent: number } {
  const frames = paper.frames.filter(({ data }) => JSON.stringify(data).includes(mutationId));
  return {
    inSnapshot: frames.filter(({ event }) => event === 'snapshot').length,
    asEvent: frames.filter(({ event }) => event === 'mutation.enqueued').length,
  };
}

type Prepare = typeof prepareOpening;

/** The mistake: the state first, then where the channel stands. */
const snapshotFirst: Prepare = async (subscription, parts, request) => {
  const read = subscription.snapshot;
  const { generation } = parts.hub;
  const snapshot = read && (await parts.snapshots.read(subscription.view.key, read));
  const mark = parts.hub.markOf(subscription.view.channel);
  const standing = await parts.eventLog.position(subscription.view.channel);
  return { standing, opening: recovery.open(request, standing), snapshot, generation, mark } satisfies Prepared;
};

for (const engine of ENGINES) {
  describe(`an event between position and snapshot on ${engine}`, () => {
    let redis: TestRedis;
    let database: TestDatabase;
    let connections: RedisConnections;
    let relay: Relay;
    let tail: Tail;
    let parts: ConnectionParts;
    let close = () => {};
    const topologyId = crypto.randomUUID();

    beforeEach(async () => {
      [redis, database] = await Promise.all([startTestRedis(), createTestDatabase(engine)]);
      connections = connectRedis(redis.url, quiet);
      const log = new EventLog(connections.commands, { maxEvents: 1000, idempotencyMs: 60_000 });
      const hub = new Hub(1024 * 1024);
      const groups = new Groups('node', connections.commands, connections.replay, { leaseMs: 60_000 });
      parts = { eventLog: log, groups, hub, recovery, snapshots: new SharedSnapshots(), logger: quiet, retryMs: 1000 };
      relay = new Relay(database.db, log, 'node', quiet);
      tail = new Tail(connections.openTail, log, hub, quiet);
      tail.start();
      relay.start();
      const now = new Date().toISOString();
      await database.db
        .insertInto('topologies')
        .values({
          id: topologyId,
          name: 'raced',
          mode: 'unihost',
          target_host_uuid: null,
          config_snapshot: '{}',
          status: 'active',
          status_changed_at: now,
          created_at: now,
        })
        .execute();
    });
    afterEach(async () => {
      close();
      await relay.stop();
      await tail.stop();
      connections.close();
      await Promise.all([redis.stop(), database.dispose()]);
    });

    /** Opens a stream while a mutation is committed and relayed exactly between the two reads. */
    async function race(prepare: Prepare): Promise<{ paper: RecordingTransport; mutationId: string; laterId: string }> {
      let mutationId = '';
      const betweenReads = async () => {
        if (mutationId !== '') return;
        mutationId = await enqueue();
        await until('the event in the log', async () => {
          const position = await parts.eventLog.position(topologyChannel(topologyId));
          return position.offset === 1;
        });
      };
      const plain = subscriptionTo(topologyStream(database.db), topologyId, { role: 'viewer' }, new URLSearchParams());
      let reads = 0;
      const raced = async <T>(read: () => Promise<T>): Promise<T> => {
        reads += 1;
        if (reads === 2) await betweenReads();
        return read();
      };
      const snapshot = plain.snapshot;
      if (snapshot === undefined) throw new Error('the stream has a snapshot');
      const request: Resumption = { kind: 'fresh' };
      const subscription: Subscription = { ...plain, request, snapshot: () => raced(snapshot) };
      const racedParts = {
        ...parts,
        eventLog: {
          position: (channel: string, offset?: number) => raced(() => parts.eventLog.position(channel, offset)),
          oldest: (channel: string) => parts.eventLog.oldest(channel),
        },
      };
      const prepared = await prepare(subscription, racedParts, request);
      const paper = new RecordingTransport();
      const connection = new Connection('c1', subscription, parts, paper, () => {});
      close = () => connection.close('gone');
      connection.start(prepared);
      const laterId = await enqueue();
      await until('the later event', () => told(paper, laterId).asEvent === 1);
      return { paper, mutationId, laterId };
    }

    async function enqueue(): Promise<string> {
      const id = await enqueueMutation(database.db, topologyId, {
        op: 'add_lan',
        payload: {},
        expectedVersion: undefined,
      });
      relay.wake();
      return id;
    }

    test('is told exactly once: the snapshot contains it, and its event is left out', async () => {
      const { paper, mutationId } = await race(prepareOpening);
      expect(told(paper, mutationId)).toEqual({ inSnapshot: 1, asEvent: 0 });
      // The id that was left out is named, so that the chain stays checkable.
      expect(paper.text).toMatch(/id: (\w+)\.2\.\w{8}\nevent: mutation\.enqueued\ndata: \{"prev":"\1\.0\.0\.1",/);
    });

    test('negative control: is lost when the snapshot is read first', async () => {
      const { paper, mutationId } = await race(snapshotFirst);
      expect(told(paper, mutationId)).toEqual({ inSnapshot: 0, asEvent: 0 });
    });
  });
}
