import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import type { Principal } from '../../src/auth/principal.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { Groups } from '../../src/bus/groups.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import type { Connection } from '../../src/stream/connection.ts';
import type { StreamDeclaration } from '../../src/stream/declaration.ts';
import { Hub } from '../../src/stream/hub.ts';
import { recovery } from '../../src/stream/recovery.ts';
import { SharedSnapshots } from '../../src/stream/shared-snapshots.ts';
import { sseRoutes } from '../../src/stream/sse-routes.ts';
import { Streams } from '../../src/stream/streams.ts';
import type { Subscription } from '../../src/stream/subscription.ts';
import { UserStreams } from '../../src/stream/user-streams.ts';
import { quiet } from '../support/database.ts';
import { RawClient } from '../support/raw-client.ts';
import { startTestRedis, type TestRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { RecordingTransport } from './recording-transport.ts';
import { batch, CHANNEL, view } from './support.ts';

const USER: Principal = {
  ...{ userUuid: 'user', username: 'user', role: 'viewer', jti: 'session', issuedAt: 0 },
  expiresAt: Number.MAX_SAFE_INTEGER,
};
const SUBSCRIPTION: Subscription = { view: view(), request: { kind: 'fresh' }, once: false };

/** How many checkpoints were told at once, each time. */
const checkpoints: number[] = [];

class CountingGroups extends Groups {
  override checkpoint(...[positions]: Parameters<Groups['checkpoint']>) {
    checkpoints.push(positions.length);
    return super.checkpoint(positions);
  }
}

describe('the open streams', () => {
  let server: TestRedis;
  let connections: RedisConnections;
  let hub: Hub;
  let isValid: boolean;
  let streams: Streams;
  const open: Connection[] = [];

  beforeEach(async () => {
    server = await startTestRedis();
    connections = connectRedis(server.url, quiet);
    const log = new EventLog(connections.commands, { maxEvents: 10_000, idempotencyMs: 60_000 });
    hub = new Hub(64 * 1024);
    const groups = new CountingGroups('node', connections.commands, connections.replay, { leaseMs: 60_000 });
    isValid = true;
    checkpoints.length = 0;
    streams = new Streams({
      connection: {
        ...{ eventLog: log, hub, recovery, snapshots: new SharedSnapshots(), logger: quiet, retryMs: 1000 },
        groups,
      },
      ...{ hub, logger: quiet, keepaliveMs: 200, stallMs: 30_000, leaseMs: 60_000 },
      slots: new UserStreams(connections.commands, 'node', quiet, { maxPerUser: 10_000, leaseMs: 60_000 }),
      isStillValid: async () => isValid,
    });
  });
  afterEach(async () => {
    streams.drain();
    for (const connection of open.splice(0)) connection.close('gone');
    connections.close();
    await server.stop();
  });

  const admit = (heard = streams.revocations) =>
    streams.admit({ principal: USER, gate: 'viewer', heard, stream: 'test', subscription: SUBSCRIPTION });

  test('end when their session was revoked between authentication and registration', async () => {
    const admissions = [await admit(), await admit()];
    const papers = [new RecordingTransport(), new RecordingTransport()];
    admissions[0]?.start(papers[0] ?? new RecordingTransport());
    isValid = false;
    // It finds the first one only.
    await streams.recheck(USER.userUuid);
    expect(papers.map(({ ended }) => ended)).toEqual(['end', undefined]);
    admissions[1]?.start(papers[1] ?? new RecordingTransport());
    await until('the end of the other', () => papers[1]?.ended === 'end');
    expect(streams.size).toBe(0);
  });

  test('end when the revocation is heard of while the request is being authenticated', async () => {
    const authenticateStream = async () => {
      // The row has been read; then the event comes.
      isValid = false;
      await streams.recheck(USER.userUuid);
      return { principal: USER };
    };
    const declaration: StreamDeclaration = {
      ...{ name: 'test', path: '/stream', channel: () => CHANNEL, eventName: () => undefined },
      topics: ['attacker.>'],
    };
    const routes = sseRoutes([declaration], { streams, authenticator: { authenticateStream }, retryMs: 1000 });
    const app = new Elysia({ serve: { reusePort: false, development: false } }).use(routes).listen(0);
    const client = await RawClient.open(`http://127.0.0.1:${app.server?.port}/stream`, '');
    try {
      await until('the end of the stream', () => client.finished);
      expect(client.status).toBe(200);
    } finally {
      client.close();
      await app.stop(true);
    }
  });

  test('that were finished but not taken by the client are dropped when their session ends', async () => {
    const paper = new RecordingTransport();
    let finish = () => {};
    paper.end = (_, onFinished) => {
      finish = onFinished;
    };
    paper.abort = () => {
      paper.ended = 'abort';
      finish();
    };
    const connection = (await admit()).start(paper);
    connection.close('done');
    expect(streams.size).toBe(1);
    isValid = false;
    await streams.recheck(USER.userUuid);
    expect([paper.ended, streams.size]).toEqual(['abort', 0]);
  });

  test('checkpoint some hundreds in a tick, and each of them in time', async () => {
    const count = 1100;
    for (let number = 0; number < count; number += 1) open.push((await admit()).start(new RecordingTransport()));
    await until('all to be live', () => open.every(({ state }) => state === 'live'));
    hub.onBatch(batch(1, 1, open[0]?.epoch));
    await until('the event at everyone', () => open.every(({ offset }) => offset === 1));
    streams.start();
    const told = () => checkpoints.reduce((sum, length) => sum + length, 0);
    await until('all checkpoints', () => told() >= count);
    expect(checkpoints.every((length) => length <= 500)).toBe(true);
    expect(told()).toBe(count);
    expect(open.every((connection) => connection.takeCheckpoint() === undefined)).toBe(true);
  });
});
