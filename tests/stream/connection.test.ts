import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import { NO_PROOF } from '../../src/bus/cursor.ts';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { Groups } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Tail } from '../../src/bus/tail.ts';
import { AppError } from '../../src/errors.ts';
import { Connection } from '../../src/stream/connection.ts';
import { Hub } from '../../src/stream/hub.ts';
import { prepareOpening } from '../../src/stream/preparation.ts';
import { type Resumption, recovery } from '../../src/stream/recovery.ts';
import { SharedSnapshots } from '../../src/stream/shared-snapshots.ts';
import type { Snapshot } from '../../src/stream/snapshot.ts';
import type { ConnectionParts, Subscription } from '../../src/stream/subscription.ts';
import type { View } from '../../src/stream/view.ts';
import { quiet } from '../support/database.ts';
import { startTestRedis, type TestRedis } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { RecordingTransport } from './recording-transport.ts';

const EVERYTHING: View = {
  key: 'all',
  channel: 'identity',
  eventName: (topic) => topic.slice('identity.'.length),
  shows: () => true,
  filtered: false,
};
/** Shows every other event of the channel. */
const FORMED: View = { ...EVERYTHING, key: 'formed', shows: (topic) => topic === 'identity.formed', filtered: true };

describe('a connection', () => {
  let server: TestRedis;
  let redis: Redis;
  let connections: RedisConnections;
  let log: EventLog;
  let tail: Tail;
  let parts: ConnectionParts;
  const open: Connection[] = [];

  beforeEach(async () => {
    server = await startTestRedis();
    redis = server.client();
    connections = connectRedis(server.url, quiet);
    log = new EventLog(connections.commands, { maxEvents: 10_000, idempotencyMs: 60_000 });
    const hub = new Hub(64 * 1024);
    const groups = new Groups('node', connections.commands, connections.replay, { leaseMs: 60_000 });
    parts = { eventLog: log, groups, hub, recovery, snapshots: new SharedSnapshots(), logger: quiet, retryMs: 1000 };
    tail = new Tail(connections.openTail, log, hub, quiet);
    tail.start();
    // Its beginning is a jump: a stream that is being opened then asks again where it stands.
    await until('the tail to begin', () => tail.cursor.epoch !== '');
    await publish('identity.formed');
  });
  afterEach(async () => {
    for (const connection of open.splice(0)) connection.close('gone');
    await tail.stop();
    connections.close();
    await server.stop();
  });

  async function publish(...topics: string[]): Promise<void> {
    await log.publish(topics.map((topic) => ({ event: createEvent(topic, '', { n: crypto.randomUUID() }) })));
  }

  async function connect(view: View, options: Partial<Subscription> = {}, paper = new RecordingTransport()) {
    const request: Resumption = options.request ?? { kind: 'fresh' };
    const subscription: Subscription = { view, once: false, ...options, request };
    const connection = new Connection(crypto.randomUUID(), subscription, parts, paper, () => {});
    open.push(connection);
    connection.start(await prepareOpening(subscription, parts, request));
    return { paper, connection };
  }

  const groupNames = async () => {
    const groups = (await redis.xinfo('GROUPS', keys.stream('identity'))) as string[][];
    return groups.map(([, name]) => name ?? '');
  };

  test('whose group was lost goes on without a word, and its chain holds over hidden events', async () => {
    const { paper, connection } = await connect(FORMED);
    await until('live', () => connection.state === 'live');
    await publish('identity.formed', 'identity.merged', 'identity.merged');
    await until('the hidden events to be counted', () => connection.offset === 4);
    connection.ensureGroup();
    const [name] = await until('its group', async () => (await groupNames()).length === 1 && groupNames());
    await redis.xgroup('DESTROY', keys.stream('identity'), name ?? '');
    connection.groupGone();
    await until('live again', () => connection.state === 'live');
    await publish('identity.formed');
    await until('the next event', () => paper.frames.length === 3);
    const [ready, first, second] = paper.frames;
    expect([ready, first, second].map((frame) => frame?.event)).toEqual(['ready', 'formed', 'formed']);
    expect(first?.data.prev).toBe(ready?.id);
    expect(second?.data.prev).toBe(first?.id);
    expect(connection.ensureGroup()).toBe(true);
    await until('its group', async () => (await groupNames()).length === 1);
    expect(connection.ensureGroup()).toBe(false);
  });

  test('that was told a snapshot is not told its events again after its group was lost', async () => {
    const snapshot: Snapshot = { revision: 7, data: { identities: [] } };
    const { paper, connection } = await connect(EVERYTHING, { snapshot: async () => snapshot });
    await until('live', () => connection.state === 'live');
    connection.groupGone();
    await until('live again', () => connection.state === 'live');
    const event = createEvent('identity.formed', '', {});
    await log.publish([{ event, revisions: { identity: 7 } }]);
    await publish('identity.merged');
    await until('the later event', () => paper.frames.some((frame) => frame.event === 'merged'));
    expect(paper.frames.map((frame) => frame.event)).toEqual(['snapshot', 'merged']);
  });

  /** Counts what is asked of groups. */
  const counting = () => {
    const { groups } = parts;
    const asked = { opened: 0, read: 0 };
    parts = {
      ...parts,
      groups: {
        open(...of) {
          asked.opened += 1;
          return groups.open(...of);
        },
        read(...of) {
          asked.read += 1;
          return groups.read(...of);
        },
        moveTo: groups.moveTo.bind(groups),
        close: groups.close.bind(groups),
      },
    };
    return asked;
  };

  test('asks no history for what the window brings, on a quiet channel and on a busy one', async () => {
    const asked = counting();
    await until('the tail', () => tail.cursor.offset === 1);
    const first = await connect(EVERYTHING);
    await until('live', () => first.connection.state === 'live');
    await publish('identity.formed', 'identity.merged');
    await until('both', () => first.paper.frames.length === 3);
    const second = await connect(EVERYTHING);
    await until('live', () => second.connection.state === 'live');
    await publish('identity.formed');
    for (const [{ paper }, count] of [[first, 4] as const, [second, 2] as const]) {
      await until('the event', () => paper.frames.length === count);
    }
    expect(asked).toEqual({ opened: 0, read: 0 });
    for (const { connection } of [first, second]) connection.ensureGroup();
    await until('the groups', async () => (await groupNames()).length === 2);
    expect(asked).toEqual({ opened: 2, read: 0 });
  });

  test('reads from history what passed between the asking for its place and the joining', async () => {
    const subscription: Subscription = { view: EVERYTHING, once: false, request: { kind: 'fresh' } };
    const prepared = await prepareOpening(subscription, parts, subscription.request);
    await publish('identity.merged');
    await until('the tail', () => tail.cursor.offset === 2);
    const paper = new RecordingTransport();
    const connection = new Connection('late', subscription, parts, paper, () => {});
    open.push(connection);
    connection.start(prepared);
    await until('the event', () => paper.frames.length === 2);
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'merged']);
  });

  test('finds out that its channel was forgotten before it had a group', async () => {
    const { paper, connection } = await connect(EVERYTHING);
    await until('live', () => connection.state === 'live');
    await redis.del(keys.stream('identity'));
    await redis.hdel(keys.meta, 'offset:identity', 'proof:identity', 'bytes:identity');
    connection.ensureGroup();
    await until('the reset', () => paper.frames.length === 3);
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'reset', 'ready']);
  });

  test('that is full gets nothing until it has drained, and then everything', async () => {
    const { paper, connection } = await connect(EVERYTHING);
    await until('live', () => connection.state === 'live');
    paper.writable = false;
    const before = paper.text;
    for (let round = 0; round < 20; round += 1) {
      await publish(...Array.from({ length: 100 }, () => 'identity.formed'));
    }
    await until('the tail', () => tail.cursor.offset === 2001);
    expect(paper.text).toBe(before);
    paper.drain();
    await until('all events', () => paper.frames.length === 2001);
    const offsets = paper.frames.slice(1).map(({ id }) => Number(id?.split('.')[1]));
    expect(offsets).toEqual(Array.from({ length: 2000 }, (_, index) => index + 2));
  });

  test('reads again when the tail jumped while it asked which epoch is right', async () => {
    const { eventLog: log, hub } = parts;
    let joined: Parameters<typeof hub.join>[0] | undefined;
    let [asked, generation] = [0, 0];
    parts = {
      ...parts,
      // A tail that has not begun, and begins behind an event that is published while the connection asks.
      hub: {
        epoch: '',
        get generation() {
          return generation;
        },
        markOf: (channel) => hub.markOf(channel),
        leave: (member) => hub.leave(member),
        join: (member) => {
          joined = member;
          return hub.join({
            view: member.view,
            framing: member.framing,
            onBatch: () => {},
            onBreak: () => {},
            onReconnect: () => {},
          });
        },
      },
      eventLog: {
        oldest: (channel) => log.oldest(channel),
        async position(channel, offset) {
          const position = await log.position(channel, offset);
          asked += 1;
          if (asked === 2) {
            await publish('identity.formed');
            generation += 1;
            joined?.onBreak(position.epoch);
          }
          return position;
        },
      },
    };
    const view = { ...EVERYTHING, key: 'apart', channel: 'identity' };
    const { paper, connection } = await connect(view);
    await until('live', () => connection.state === 'live');
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'formed']);
  });

  test('tells where it stands once, and again when it has moved', async () => {
    const { connection } = await connect(EVERYTHING);
    await until('live', () => connection.state === 'live');
    connection.ensureGroup();
    await until('its group', async () => (await groupNames()).length === 1);
    expect(connection.takeCheckpoint()).toBeUndefined();
    for (const offset of [2, 3]) {
      await publish('identity.formed');
      await until('the event', () => connection.offset === offset);
      expect(connection.takeCheckpoint()?.offset).toBe(offset);
      expect(connection.takeCheckpoint()).toBeUndefined();
    }
  });

  test('that is full is not told that it is quiet', async () => {
    const { paper, connection } = await connect(EVERYTHING);
    const before = paper.text;
    paper.writable = false;
    connection.tick(performance.now() + 20_000, 15_000);
    expect(paper.text).toBe(before);
    paper.writable = true;
    connection.tick(performance.now() + 20_000, 15_000);
    expect(paper.text).toBe(`${before}: keepalive\n\n`);
  });

  test('that is full is dropped when it is to end, unless it has been given all that it asked for', async () => {
    const { paper, connection } = await connect(EVERYTHING);
    paper.writable = false;
    connection.close('end');
    expect(paper.ended).toBe('abort');
    const filling = new RecordingTransport();
    filling.write = (chunks) => {
      RecordingTransport.prototype.write.call(filling, chunks);
      filling.writable = false;
    };
    const once = await connect(EVERYTHING, { once: true }, filling);
    await until('the end', () => once.connection.state === 'closed');
    expect(filling.ended).toBe('end');
    expect(filling.text).toMatch(/\nretry: \d+\n\n$/);
  });

  test('asked for once is not finished before it is complete: its client would take a part for all', async () => {
    await publish('identity.formed');
    const { epoch } = await log.position('identity');
    const request: Resumption = { kind: 'from', cursor: { epoch, offset: 0, proof: NO_PROOF, revision: 0 } };
    const full = new RecordingTransport();
    full.write = () => {
      full.writable = false;
    };
    const { connection } = await connect(EVERYTHING, { once: true, request }, full);
    connection.close('end');
    expect(full.ended).toBe('abort');
  });

  test('that is closed stays closed, whatever comes', async () => {
    const { paper, connection } = await connect(EVERYTHING);
    await until('live', () => connection.state === 'live');
    connection.close('end');
    const after = paper.text;
    connection.onBreak();
    connection.onReconnect();
    connection.onBatch();
    connection.groupGone();
    connection.tick(performance.now() + 60_000, 15_000);
    paper.onDrain();
    connection.close('abort');
    expect([connection.state, paper.ended, paper.text]).toEqual(['closed', 'end', after]);
  });

  test('ends when what it streams has been deleted', async () => {
    let isDeleted = false;
    const snapshot = async (): Promise<Snapshot> => {
      if (isDeleted) throw new AppError('not_found', 'Topology not found');
      return { revision: 0, data: {} };
    };
    const { paper, connection } = await connect(EVERYTHING, { snapshot });
    await until('live', () => connection.state === 'live');
    isDeleted = true;
    await redis.flushall();
    await until('the end', () => paper.ended === 'end');
  });

  test('that was reset while it asked whether its place is good is not reset again by the answer', async () => {
    const { hub, eventLog: log } = parts;
    let joined: Parameters<typeof hub.join>[0] | undefined;
    const [asked, mayAnswer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let count = 0;
    parts = {
      ...parts,
      // A tail that has not begun: each connection asks for itself.
      hub: {
        epoch: '',
        generation: 0,
        markOf: (channel) => hub.markOf(channel),
        leave: () => {},
        join: (member) => {
          joined = member;
          return hub.join({
            view: member.view,
            framing: member.framing,
            onBatch: () => {},
            onBreak: () => {},
            onReconnect: () => {},
          });
        },
      },
      eventLog: {
        oldest: (channel) => log.oldest(channel),
        async position(channel, offset) {
          count += 1;
          const now = count;
          const position = await log.position(channel, offset);
          if (now === 2) {
            asked.resolve();
            await mayAnswer.promise;
          }
          return now === 1 ? position : { ...position, epoch: 'replaced' };
        },
      },
    };
    const { paper, connection } = await connect({ ...EVERYTHING, key: 'apart' });
    await asked.promise;
    joined?.onBreak('replaced');
    await until('the reset', () => paper.frames.length === 3);
    mayAnswer.resolve();
    await until('live', () => connection.state === 'live');
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'reset', 'ready']);
  });

  test('closed while its group is being created leaves no group behind', async () => {
    let created = false;
    const { groups } = parts;
    const open: typeof groups.open = async (...of) => {
      const group = await groups.open(...of);
      created = true;
      return group;
    };
    parts = {
      ...parts,
      groups: {
        open,
        read: groups.read.bind(groups),
        moveTo: groups.moveTo.bind(groups),
        close: groups.close.bind(groups),
      },
    };
    await until('the tail to have begun', () => tail.cursor.epoch !== '');
    const { connection } = await connect(EVERYTHING);
    await until('live', () => connection.state === 'live');
    connection.ensureGroup();
    connection.close('gone');
    expect(created).toBe(false);
    await until('the group', () => created);
    await until('no registration', async () => (await redis.scard(keys.groups('node'))) === 0);
    expect(await groupNames()).toEqual([]);
  });
});
