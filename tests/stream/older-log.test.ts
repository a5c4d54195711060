import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { recovery } from '../../src/stream/recovery.ts';
import type { Snapshot } from '../../src/stream/snapshot.ts';
import type { View } from '../../src/stream/view.ts';
import { until } from '../support/until.ts';
import { createHarness, EVERYTHING, type Harness } from './harness.ts';
import { RecordingTransport } from './recording-transport.ts';

const TIMEOUT_MS = 30_000;
/** Events that it does not show are counted, and move nobody's id on. */
const FORMED_ONLY: View = {
  ...EVERYTHING,
  ...{ key: 'formed', filtered: true, shows: (topic) => topic === 'identity.formed' },
};

let harness: Harness;
beforeEach(async () => {
  harness = await createHarness();
});
afterEach(() => harness.stop());

/** The newest events are lost: Redis is back with what it held at the last backup. */
async function comeBackOlder(): Promise<void> {
  await harness.server.down();
  await harness.server.restore();
  await harness.server.up();
  await until('redis', () => harness.log.position('log').catch(() => undefined));
}

/** Publishes other events in the place of the lost ones, one by one. */
async function goOn(count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) await harness.publish('identity.merged');
}

/** From the last reset on: it names the loss, begins again, and misses nothing of what comes then. */
async function expectReset(paper: RecordingTransport, newest: number): Promise<void> {
  const since = () => paper.frames.slice(paper.frames.findLastIndex(({ event }) => event === 'reset'));
  const offsets = () =>
    since()
      .slice(1)
      .map(({ id }) => Number(id?.split('.')[1]));
  await until('a reset and all that came then', () => since()[0]?.event === 'reset' && offsets().at(-1) === newest);
  expect(since()[0]?.data).toEqual({ reason: 'ahead' });
  const [first = 0] = offsets();
  expect(offsets()).toEqual(Array.from({ length: newest - first + 1 }, (_, index) => first + index));
}

// Fewer than were lost, as many, more: the log is shorter than what the client has, as long, longer.
describe.each([1, 2, 3, 5])('two events are lost, and %i others come', (count) => {
  test(
    'a live connection is reset before it is told any of them',
    async () => {
      await harness.publish('identity.formed');
      const { paper, connection } = await harness.connect();
      await until('live', () => connection.state === 'live');
      await harness.server.backup();
      await harness.publish('identity.formed', 'identity.formed');
      await until('the events', () => connection.offset === 3);
      await comeBackOlder();
      await goOn(count);
      await expectReset(paper, 1 + count);
    },
    TIMEOUT_MS,
  );

  test(
    'a connection that was ahead of its node’s tail is reset although the tail has noticed nothing',
    async () => {
      await harness.publish('identity.formed');
      await until('the tail', () => harness.tail.cursor.offset === 1);
      const { paper, connection } = await harness.connect();
      await until('live', () => connection.state === 'live');
      await harness.server.backup();
      await harness.tailAway();
      await harness.publish('identity.formed', 'identity.formed');
      const returning = await harness.connect({ request: { kind: 'from', cursor: await cursorAt(1) } });
      const fresh = await harness.connect();
      for (const ahead of [returning, fresh]) {
        await until('ahead', () => ahead.connection.offset === 3 && ahead.connection.state === 'live');
      }
      await comeBackOlder();
      harness.tailBack();
      await goOn(count);
      await expectReset(returning.paper, 1 + count);
      await expectReset(fresh.paper, 1 + count);
      // One who never had the lost events goes on.
      await until('the events', () => connection.offset === 1 + count);
      expect(paper.frames.map(({ event }) => event)).toEqual(['ready', ...Array(count).fill('merged')]);
    },
    TIMEOUT_MS,
  );

  test(
    'a connection whose position was read before is reset when its snapshot is there',
    async () => {
      await harness.publish('identity.formed');
      await harness.server.backup();
      await harness.publish('identity.formed', 'identity.formed');
      await until('the tail', () => harness.tail.cursor.offset === 3);
      let reads = 0;
      const snapshot = async (): Promise<Snapshot> => {
        reads += 1;
        if (reads === 1) {
          await comeBackOlder();
          await until('the tail to notice', () => harness.tail.cursor.offset === 1);
        }
        return { revision: 0, data: {} };
      };
      const { paper } = await harness.connect({ snapshot });
      await goOn(count);
      await expectReset(paper, 1 + count);
    },
    TIMEOUT_MS,
  );
});

// A storm found it: who watches a pattern was told that history was gone, which it was not for him.
test.each([0, 1, 2, 3])(
  'what is lost was not shown to a client: it is not reset, and misses nothing (%i others come in its place)',
  async (count) => {
    const { paper, connection } = await harness.connect({ view: FORMED_ONLY });
    await harness.publish('identity.formed');
    await until('the first event', () => paper.frames.length === 2);
    await harness.server.backup();
    await harness.publish('identity.merged', 'identity.merged');
    await until('what is only counted', () => connection.offset === 3);
    await comeBackOlder();
    await goOn(count);
    await harness.publish('identity.formed');
    await until('the newest event', () => paper.frames.at(-1)?.id?.split('.')[1] === String(2 + count));
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'formed', 'formed']);
    const [, shown, newest] = paper.frames;
    expect(newest?.data).toMatchObject({ prev: shown?.id });
  },
  TIMEOUT_MS,
);

test(
  'what is lost was shown to a client: it is reset, whatever was counted since',
  async () => {
    await harness.publish('identity.formed');
    const { paper, connection } = await harness.connect({ view: FORMED_ONLY });
    await until('live', () => connection.state === 'live');
    await harness.server.backup();
    await harness.publish('identity.formed', 'identity.merged');
    await until('both events', () => connection.offset === 3);
    await comeBackOlder();
    await goOn(3);
    await until('a reset', () => paper.frames.length === 4);
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'formed', 'reset', 'ready']);
    expect(paper.frames[2]?.data).toEqual({ reason: 'ahead' });
  },
  TIMEOUT_MS,
);

test(
  'what is lost is contained in the client’s snapshot: it is not told when it is published again, behind another event',
  async () => {
    const contained = { event: createEvent('identity.formed', '', {}), revisions: { identity: 7 } };
    await harness.publish('identity.formed');
    const cursor = { ...(await cursorAt(1)), revision: 7 };
    await harness.server.backup();
    await harness.log.publish([contained]);
    const { paper, connection } = await harness.connect({ request: { kind: 'from', cursor } });
    await until('the contained event to be counted', () => connection.offset === 2);
    await comeBackOlder();
    await goOn(1);
    await harness.log.publish([contained]);
    await goOn(1);
    await until('the newest event', () => connection.offset === 4);
    expect(paper.frames.map(({ event }) => event)).toEqual(['resumed', 'merged', 'merged']);
  },
  TIMEOUT_MS,
);

test(
  'who asked for the missed events once gets those that are left, and the end',
  async () => {
    await harness.publish('identity.formed', 'identity.formed');
    await harness.server.backup();
    await harness.publish('identity.formed');
    const paper = new RecordingTransport();
    paper.writable = false;
    await harness.connect({ request: { kind: 'from', cursor: await cursorAt(1) }, once: true }, paper);
    await comeBackOlder();
    await until('the tail to notice', () => harness.tail.cursor.offset === 2);
    paper.drain();
    await until('the end', () => paper.ended === 'end');
    expect(paper.frames.map(({ id }) => id?.split('.')[1])).toEqual(['1', '2']);
  },
  TIMEOUT_MS,
);

test(
  'control: without proofs a live connection goes on over the hole',
  async () => {
    harness.parts = { ...harness.parts, recovery: { ...recovery, proves: () => true } };
    await harness.publish('identity.formed');
    const { paper, connection } = await harness.connect();
    await until('live', () => connection.state === 'live');
    await harness.server.backup();
    await harness.publish('identity.formed', 'identity.formed');
    await until('the events', () => connection.offset === 3);
    await harness.tailAway();
    await comeBackOlder();
    await goOn(3);
    harness.tailBack();
    await until('the newest event', () => connection.offset === 4);
    expect(paper.frames.map(({ event }) => event)).toEqual(['ready', 'formed', 'formed', 'merged']);
  },
  TIMEOUT_MS,
);

async function cursorAt(offset: number) {
  const { epoch, readerProof } = await harness.log.position('identity', offset);
  return { epoch, offset, proof: readerProof, revision: 0 };
}
