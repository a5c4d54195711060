import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { GroupGoneError } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { Connection } from '../../src/stream/connection.ts';
import { prepareOpening } from '../../src/stream/preparation.ts';
import type { Snapshot } from '../../src/stream/snapshot.ts';
import { until } from '../support/until.ts';
import { createHarness, type Harness } from './harness.ts';
import { RecordingTransport } from './recording-transport.ts';

let harness: Harness;
beforeEach(async () => {
  harness = await createHarness();
  await harness.publish('identity.formed');
});
afterEach(() => harness.stop());

/** Counts what it is given, also after its end. */
class CountingPaper extends RecordingTransport {
  calls = 0;

  override write(chunks: readonly Uint8Array[]): void {
    this.calls += 1;
    super.write(chunks);
  }
}

/** All that anybody may still call. */
function callEverything(connection: Connection, paper: RecordingTransport): void {
  connection.onBatch();
  connection.onBreak();
  connection.onReconnect();
  connection.tick(performance.now() + 1_000_000, 0);
  connection.groupGone();
  connection.evict();
  paper.drain();
  expect(connection.takeCheckpoint()).toBeUndefined();
  for (const how of ['end', 'abort', 'gone'] as const) connection.close(how);
}

/** Whatever comes, nothing is written, and nothing of it is left in Redis. */
async function expectClosed(connection: Connection, paper: CountingPaper): Promise<void> {
  const { calls, ended } = paper;
  callEverything(connection, paper);
  await harness.publish('identity.merged');
  const { log } = harness;
  await until('the tail', async () => harness.tail.cursor.offset === (await log.position('log')).offset);
  callEverything(connection, paper);
  await until('no group', async () => (await groups()).length === 0);
  expect(connection.state).toBe('closed');
  expect(paper.calls).toBe(calls);
  expect(paper.ended).toBe(ended);
}

const groups = async () => {
  const answer = await harness.redis.xinfo('GROUPS', keys.stream('identity')).catch(() => []);
  return Array.isArray(answer) ? answer : [];
};

describe('a closed connection stays closed', () => {
  test.each(['end', 'abort', 'gone'] as const)('that was live: %s', async (how) => {
    const paper = new CountingPaper();
    const { connection } = await harness.connect({}, paper);
    await until('live', () => connection.state === 'live');
    connection.close(how);
    await expectClosed(connection, paper);
  });

  test('that was evicted while it took nothing', async () => {
    const paper = new CountingPaper();
    const { connection } = await harness.connect({}, paper);
    await until('live', () => connection.state === 'live');
    paper.writable = false;
    connection.evict();
    expect(paper.ended).toBe('abort');
    await expectClosed(connection, paper);
  });

  test('that never began', async () => {
    const paper = new CountingPaper();
    const { connection } = await harness.connect({}, paper);
    connection.close('end');
    await expectClosed(connection, paper);
  });

  test.each([
    ['finds events', false],
    ['finds its group gone', true],
  ])('that was replaying, with a read under way that %s', async (_found, isGone) => {
    await harness.publish(...Array.from({ length: 50 }, () => 'identity.formed'));
    const { groups } = harness.parts;
    const [reading, mayAnswer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    harness.parts = {
      ...harness.parts,
      groups: {
        open: groups.open.bind(groups),
        moveTo: groups.moveTo.bind(groups),
        close: groups.close.bind(groups),
        async read(...of) {
          const entries = await groups.read(...of);
          reading.resolve();
          await mayAnswer.promise;
          // As when the group was destroyed first: closing a connection does that.
          if (isGone) throw new GroupGoneError(of[0]);
          return entries;
        },
      },
    };
    const { epoch } = await harness.log.position('identity');
    const request = { kind: 'from', cursor: { epoch, offset: 0, proof: '0', revision: 0 } } as const;
    const paper = new CountingPaper();
    const { connection } = await harness.connect({ request }, paper);
    await reading.promise;
    connection.close('end');
    mayAnswer.resolve();
    await expectClosed(connection, paper);
    expect(paper.frames.map(({ event }) => event)).toEqual(['resumed']);
  });

  test('that was opening again, its snapshot under way', async () => {
    const [reading, mayAnswer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let reads = 0;
    const snapshot = async (): Promise<Snapshot> => {
      reads += 1;
      if (reads === 2) {
        reading.resolve();
        await mayAnswer.promise;
      }
      return { revision: 0, data: {} };
    };
    const paper = new CountingPaper();
    const { connection } = await harness.connect({ snapshot }, paper);
    await until('live', () => connection.state === 'live');
    await harness.redis.flushall();
    await reading.promise;
    expect(connection.state).toBe('opening');
    connection.close('end');
    mayAnswer.resolve();
    await expectClosed(connection, paper);
    expect(paper.frames.map(({ event }) => event)).toEqual(['snapshot']);
  });

  test('that was opening again and waited for its client to take something', async () => {
    const paper = new CountingPaper();
    const { connection } = await harness.connect({}, paper);
    await until('live', () => connection.state === 'live');
    paper.writable = false;
    await harness.redis.flushall();
    await until('opening', () => connection.state === 'opening');
    connection.close('abort');
    await expectClosed(connection, paper);
  });

  test('that was closed before it was started', async () => {
    const { parts } = harness;
    const subscription = (await harness.connect()).connection.subscription;
    const prepared = await prepareOpening(subscription, parts, { kind: 'fresh' });
    const paper = new CountingPaper();
    let closed = 0;
    const connection = new Connection('early', subscription, parts, paper, () => {
      closed += 1;
    });
    connection.close('gone');
    connection.start(prepared);
    callEverything(connection, paper);
    expect(connection.state).toBe('closed');
    expect(paper.calls).toBe(0);
    expect(closed).toBe(1);
  });
});
