import { afterEach, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import type { App, StartOptions } from '../../src/main.ts';
import { recovery } from '../../src/stream/recovery.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { ReceivedFrame, SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';
import { Clients, enqueue, eventsOf, newTopology } from './support.ts';

const LIMIT_MS = 30_000;

const clients = new Clients();
let plane: Plane;
let node: App;
let id: string;
let token: string;
afterEach(async () => {
  clients.close();
  await plane.stop();
});

/** A node whose relay may not lead, and a topology with a status and two mutations that only its database knows. */
async function start(protections: NonNullable<StartOptions['protections']> = {}): Promise<void> {
  plane = await createPlane();
  const held = { name: 'relay', holder: 'the test', expires_at: Date.now() + 3_600_000, term: Date.now() };
  await plane.database.db.insertInto('leases').values(held).execute();
  node = await plane.node({ protections });
  token = await plane.token(node.url);
  id = await newTopology(plane);
  await plane.database.db.transaction().execute(async (trx) => {
    await trx.updateTable('topologies').set({ status: 'degraded' }).where('id', '=', id).execute();
    await appendToOutbox(trx, [createEvent(`topology.${id}.status`, 'degraded', { status: 'degraded' })]);
  });
  await enqueue(node, token, id, 'lan 1');
  await enqueue(node, token, id, 'lan 2');
}

const mayRelay = (may: boolean) =>
  plane.database.db
    .updateTable('leases')
    .set({ holder: 'the test', expires_at: may ? 0 : Date.now() + 3_600_000 })
    .where('name', '=', 'relay')
    .execute();
const waiting = async () => (await plane.database.db.selectFrom('outbox').select('seq').execute()).length;
const untilRelayed = () => until('an empty outbox', async () => (await waiting()) === 0);

/** A client that goes as soon as it has its first frame, and what it was told. */
async function visit(lastId?: string): Promise<SseClient> {
  const client = await clients.open(
    node,
    `/topologies/${id}/events`,
    lastId === undefined ? { token } : { token, lastId },
  );
  await client.untilFrames(1);
  return client;
}

/** Each frame names the one before it where its number does not. */
function expectChain(frames: readonly ReceivedFrame[]): void {
  for (const [index, { id: own, data }] of frames.entries()) {
    const before = frames[index - 1]?.id;
    if (before === undefined || own === before) continue;
    const { prev } = JSON.parse(data);
    const isNext = Number(own.split('.')[1]) === Number(before.split('.')[1]) + 1;
    if (prev === undefined) expect(isNext).toBe(true);
    else expect(prev).toBe(before);
  }
}

test(
  'a snapshot whose events come later: none of them is told again to whoever resumes from its id, once or twice',
  async () => {
    await start();
    const first = await visit();
    const snapshot = JSON.parse(first.frames[0]?.data ?? '');
    expect(snapshot).toMatchObject({ status: 'degraded', in_flight: { length: 2 } });
    expect(first.lastId).toEndWith('.3');
    first.close();

    const patient = await visit(first.lastId);
    const restless = await visit(first.lastId);
    expect(restless.frames[0]).toMatchObject({ event: 'resumed', id: first.lastId });
    // The first of the three comes; the others still wait.
    const db = plane.database.db;
    const rows = await db.selectFrom('outbox').selectAll().orderBy('seq').execute();
    await db
      .deleteFrom('outbox')
      .where('seq', '>', rows[0]?.seq ?? 0)
      .execute();
    await mayRelay(true);
    await untilRelayed();
    await mayRelay(false);
    // It is counted, and the id moves on without a word of it.
    await until('a place behind it', () => restless.frames.some(({ event }) => event === 'position'));
    expect(restless.lastId).toMatch(/^\w+\.1\.[0-9a-f]{8}\.3$/);
    restless.close();

    const returned = await visit(restless.lastId);
    expect(returned.frames[0]).toMatchObject({ event: 'resumed', id: restless.lastId });
    await db.insertInto('outbox').values(rows.slice(1)).execute();
    await mayRelay(true);
    await untilRelayed();
    await enqueue(node, token, id, 'lan 3');
    const later = await visit(first.lastId);
    for (const client of [patient, returned, later]) {
      const [event] = await until('the next mutation', () => {
        const events = eventsOf(client.frames);
        return events.length > 0 && events;
      });
      expect(eventsOf(client.frames)).toHaveLength(1);
      expect(JSON.parse(event?.data ?? '').payload.payload.name).toBe('lan 3');
      expect(event?.id).toMatch(/^\w+\.4\.[0-9a-f]{8}$/);
      expectChain(client.frames);
    }
  },
  LIMIT_MS,
);

test(
  'control: where the id does not say what the snapshot contains, all of it is told again',
  async () => {
    await start({ recovery: { ...recovery, contained: () => 0 } });
    const first = await visit();
    first.close();
    const returned = await visit(first.lastId);
    await mayRelay(true);
    await untilRelayed();
    await until('the events', () => eventsOf(returned.frames).length === 3);
    expect(eventsOf(returned.frames).map(({ event }) => event)).toEqual([
      'status',
      'mutation.enqueued',
      'mutation.enqueued',
    ]);
  },
  LIMIT_MS,
);
