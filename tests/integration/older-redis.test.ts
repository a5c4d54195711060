import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import type { App, StartOptions } from '../../src/main.ts';
import { recovery } from '../../src/stream/recovery.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { Clients, enqueue, eventsOf, newTopology, publishState } from './support.ts';

const LIMIT_MS = 60_000;
const PATIENCE_MS = 20_000;

const clients = new Clients();
let plane: Plane;
let id: string;
let token: string;
beforeEach(async () => {
  plane = await createPlane();
  id = await newTopology(plane);
});
afterEach(async () => {
  clients.close();
  await plane.stop();
});

type Node = Pick<App, 'url'>;

async function openStream(node: Node, lastId?: string): Promise<SseClient> {
  const client = await clients.open(
    node,
    `/topologies/${id}/events`,
    lastId === undefined ? { token } : { token, lastId },
  );
  expect(client.status).toBe(200);
  await until('the first frame', () => client.frames.length > 0);
  return client;
}

/** What a client shows: the mutations of its newest snapshot, and those that were told since. */
function screen({ frames }: SseClient): string[] {
  const start = frames.findLastIndex(({ event }) => event === 'snapshot');
  const { in_flight = [] } = start === -1 ? {} : JSON.parse(frames[start]?.data ?? '{}');
  const later = frames.slice(start + 1).filter(({ event }) => event === 'mutation.enqueued');
  const names = later.map(({ data }) => JSON.parse(data).payload.payload.name);
  return [...in_flight.map(({ payload }: { payload: string }) => JSON.parse(payload).name), ...names].sort();
}

async function queued(): Promise<string[]> {
  const rows = await plane.database.db.selectFrom('topology_mutations').select('payload').execute();
  return rows.map(({ payload }) => JSON.parse(payload).name).sort();
}

const resetsOf = (client: SseClient) => client.named('reset').map(({ data }) => JSON.parse(data).reason);

/** It has been reset, and shows what the database holds, also what is queued from now on. */
async function expectTruth(node: Node, client: SseClient, ...reasons: string[]): Promise<void> {
  await until('a reset', () => client.named('reset').length > 0, PATIENCE_MS);
  expect(reasons).toContain(resetsOf(client)[0]);
  await enqueue(node, token, id, crypto.randomUUID());
  const all = await queued();
  await until('the screen to equal the database', () => Bun.deepEquals(screen(client), all), PATIENCE_MS);
}

/** Waits until all that is committed has been published, and stops Redis's clock there. */
async function backupNow(node: Node): Promise<void> {
  await drained(node);
  await plane.redis.backup();
}

async function drained(node: Node): Promise<void> {
  await until('an empty outbox', async () => {
    const { checks } = JSON.parse(await (await fetch(`${node.url}/readyz`)).text());
    return checks.relay.waiting === 0;
  });
}

async function redisComesBackOlder(): Promise<void> {
  await plane.redis.down();
  await plane.redis.restore();
  await plane.redis.up();
}

/** So many events of producers without a row take the numbers of those that were lost. */
async function takeTheirNumbers(count: number): Promise<void> {
  const log = new EventLog(plane.redis.client(), plane.config.bus);
  for (let n = 0; n < count; n += 1) {
    const payload = { topology_id: id, state: `other ${n}` };
    await log.publish([{ event: createEvent('decky.web-1.state', 'state', payload) }]);
  }
}

test(
  'the node that saw the newest events dies with the Redis that loses them: whoever comes back is reset, and shows what the database holds',
  async () => {
    const seer = await plane.child();
    token = await plane.token(seer.url);
    const present = await openStream(seer);
    await enqueue(seer, token, id, 'kept');
    await until('the first mutation', () => screen(present).length === 1);
    const left = present.lastId; // Somebody leaves here.
    await backupNow(seer);
    await enqueue(seer, token, id, 'lost');
    await publishState(seer, token, id, 'lost');
    await until('the newest events', () => present.named('decky.state').length === 1 && screen(present).length === 2);
    await drained(seer);
    await seer.kill();
    await redisComesBackOlder();
    await takeTheirNumbers(3);

    const [one, other] = [await plane.child(), await plane.child()];
    for (const [node, lastId] of [
      [one, present.lastId],
      [other, present.lastId],
      [one, left],
      [other, left],
    ] as const) {
      await expectTruth(node, await openStream(node, lastId), 'ahead', 'epoch');
    }
  },
  LIMIT_MS,
);

test.each([1, 2, 4])(
  'the node lives, two events are lost and %i others come: a live client is reset, and nothing is skipped silently',
  async (others) => {
    const node = await plane.node();
    token = await plane.token(node.url);
    await publishState(node, token, id, 'before');
    const client = await openStream(node);
    await backupNow(node);
    // Without rows: no witness knows them.
    for (const state of ['lost 1', 'lost 2']) await publishState(node, token, id, state);
    await until('the events', () => client.named('decky.state').length === 2);
    await redisComesBackOlder();
    await takeTheirNumbers(others);
    await expectTruth(node, client, 'ahead');
  },
  LIMIT_MS,
);

describe('a backup is restored and all nodes are started again', () => {
  /** What the witness is compared with, when it must not see anything. */
  const blind = (): NonNullable<StartOptions['protections']> => {
    const log = new EventLog(plane.redis.client(), plane.config.bus);
    return { testified: { testify: (_, term) => log.testify({ newest: undefined, epochs: [] }, term) } };
  };
  /** Without the witness and without proofs. */
  const trusting = () => ({ ...blind(), recovery: { ...recovery, proves: () => true } });

  /** Two clients come back: one had seen what was lost, the other left before. */
  async function restart(protections: NonNullable<StartOptions['protections']>) {
    const before = await plane.node({ protections });
    token = await plane.token(before.url);
    const client = await openStream(before);
    await enqueue(before, token, id, 'kept');
    await until('the first mutation', () => screen(client).length === 1);
    const left = client.lastId;
    await backupNow(before);
    await enqueue(before, token, id, 'lost');
    await until('the second mutation', () => screen(client).length === 2);
    await drained(before);
    await before.stop();
    await redisComesBackOlder();
    await takeTheirNumbers(2);
    const node = await plane.node({ protections });
    return { node, seen: await openStream(node, client.lastId), unseen: await openStream(node, left) };
  }

  test(
    'both whoever had seen what was lost and whoever had not are reset, and show what the database holds',
    async () => {
      const { node, seen, unseen } = await restart({});
      await expectTruth(node, seen, 'ahead', 'epoch');
      await expectTruth(node, unseen, 'epoch');
    },
    LIMIT_MS,
  );

  test(
    'control: without the witness whoever left before goes on and never hears of it',
    async () => {
      const { node, seen, unseen } = await restart(blind());
      await expectTruth(node, seen, 'ahead');
      await until('the events', () => unseen.named('mutation.enqueued').length === 1);
      expect(unseen.named('resumed')).toHaveLength(1);
      expect(unseen.named('reset')).toEqual([]);
      expect(screen(unseen)).not.toContain('lost');
      expect(eventsOf(unseen.frames)).toHaveLength(3);
    },
    LIMIT_MS,
  );

  test(
    'control: without proofs either, whoever had seen it goes on over other events that have its numbers',
    async () => {
      const { node, seen } = await restart(trusting());
      await enqueue(node, token, id, 'later');
      await until('the event', () => seen.named('mutation.enqueued').length === 1);
      expect(seen.named('reset')).toEqual([]);
      // Of the two that took the numbers it was told one.
      expect(seen.named('decky.state')).toHaveLength(1);
    },
    LIMIT_MS,
  );
});
