import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import type { Redis } from 'ioredis';
import { formatCursor } from '../../src/bus/cursor.ts';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { RawClient } from '../support/raw-client.ts';
import { until } from '../support/until.ts';
import { insertMutation } from '../topology/support.ts';
import { Clients, eventsOf, groupsOf, newTopology, offsetsOf, range } from './support.ts';

const LIMIT_MS = 60_000;
const CLIENTS = 200;
const EVENTS = 400;
const EVENT_BYTES = 20_000;
/** What a client that takes nothing may cost: the write that it did not take. */
const CLIENT_BYTES = 64 * 1024;
/**
 * What the process may grow by whatever the clients do: the events on their way through, and garbage, which the collector lets pile up in
 * proportion to what lives. A queue of what the clients have not taken would be 200 × 8 MB.
 */
const SLACK_BYTES = 200 * 1024 * 1024;

const clients = new Clients();
const raw: RawClient[] = [];
let plane: Plane;
let redis: Redis;
let log: EventLog;

beforeAll(async () => {
  plane = await createPlane();
  redis = plane.redis.client();
  log = new EventLog(redis, plane.config.bus);
});
afterEach(() => {
  clients.close();
  for (const client of raw.splice(0)) client.close();
});
afterAll(() => plane.stop());

/** A client that has its snapshot and then stops reading. */
async function stalled(url: string, id: string, token: string): Promise<RawClient> {
  const client = await RawClient.open(`${url}/api/v1/topologies/${id}/events`, token);
  raw.push(client);
  await until('the snapshot', () => client.offsets.length > 0);
  client.pause();
  return client;
}

/** Publishes 8 MB: more than the kernel keeps for a client and the window for all, so that the rest has to wait in the log. */
async function publishALot(id: string): Promise<void> {
  const padding = 'x'.repeat(EVENT_BYTES);
  const publication = () => ({ event: createEvent('decky.web-1.traffic', 'traffic', { topology_id: id, padding }) });
  for (let sent = 0; sent < EVENTS; sent += 20) await log.publish(Array.from({ length: 20 }, publication));
}

/** Resident memory of a process in bytes; what the kernel keeps for its sockets is not in it. */
function memoryOf(pid: number): number {
  const { stdout } = Bun.spawnSync(['ps', '-o', 'rss=', '-p', String(pid)]);
  return Number(stdout.toString()) * 1024;
}

test(
  'clients that stop reading cost the process a cursor, not a queue, and miss nothing when they read on',
  async () => {
    const node = await plane.child({ DECNET_SSE_STALL_SECONDS: '600', DECNET_SSE_WINDOW_BYTES: '1048576' });
    const token = await plane.token(node.url);
    const id = await newTopology(plane);
    const slow = await Promise.all(range(1, CLIENTS).map(() => stalled(node.url, id, token)));
    const witness = await clients.open(node, `/topologies/${id}/events`, { token });
    await witness.untilEvent('snapshot');
    const before = memoryOf(node.pid);
    let most = before;
    await publishALot(id);
    // The last event has reached one who reads: it has been offered to those who do not.
    await until(
      'the witness to have everything',
      () => {
        most = Math.max(most, memoryOf(node.pid));
        return eventsOf(witness.frames).length === EVENTS;
      },
      LIMIT_MS / 2,
    );
    most = Math.max(most, memoryOf(node.pid));
    expect(most - before).toBeLessThan(CLIENTS * CLIENT_BYTES + SLACK_BYTES);
    expect(slow.every(({ offsets }) => offsets.length === 1)).toBe(true);

    for (const client of slow) client.resume();
    await until('everything at everyone', () => slow.every(({ offsets }) => offsets.length > EVENTS), LIMIT_MS);
    for (const { offsets } of slow) expect(offsets).toEqual(range(0, EVENTS));
  },
  LIMIT_MS,
);

test(
  'a client that takes nothing for too long is closed, and resumes',
  async () => {
    const node = await plane.node({}, { DECNET_SSE_STALL_SECONDS: '1', DECNET_SSE_WINDOW_BYTES: '1048576' });
    const token = await plane.token(node.url);
    const id = await newTopology(plane);
    const idle = await stalled(node.url, await newTopology(plane), token);
    const slow = await stalled(node.url, id, token);
    await until('its group', async () => (await groupsOf(redis, id)).length === 1);
    await publishALot(id);
    await until('the end of its connection', async () => (await groupsOf(redis, id)).length === 0);
    slow.resume();
    await until('the client to notice', () => slow.closed);
    const seen = slow.offsets.length;
    expect(seen).toBeLessThanOrEqual(EVENTS);
    expect(slow.offsets).toEqual(range(0, seen - 1));

    const { epoch, readerProof } = await log.position(`topology.${id}`, seen - 1);
    const lastId = formatCursor({ epoch, offset: seen - 1, proof: readerProof, revision: 0 });
    const back = await clients.open(node, `/topologies/${id}/events`, { token, lastId });
    await back.untilFrames(1 + EVENTS - (seen - 1));
    expect(offsetsOf(eventsOf(back.frames))).toEqual(range(seen, EVENTS));
    // There was nothing to take: not reading is no stall.
    const { received } = idle;
    idle.resume();
    await until('keepalives', () => idle.received > received);
    expect(idle.closed).toBe(false);
  },
  LIMIT_MS,
);

/** A stall limit of a second, and clients that read four times in it. */
const SHORT_STALL = { DECNET_SSE_STALL_SECONDS: '1', DECNET_SSE_WINDOW_BYTES: '1048576' };
const READ_EVERY_MS = 250;

/** A topology whose snapshot is larger than what the kernel takes for a client that reads nothing: a megabyte for each mutation. */
async function topologyOfMegabytes(first: number, last: number): Promise<string> {
  const id = await newTopology(plane);
  const { db } = plane.database;
  for (const position of range(first, last)) await insertMutation(db, id, position);
  const payload = JSON.stringify({ name: 'x'.repeat(1024 * 1024) });
  await db.updateTable('topology_mutations').set({ payload }).where('topology_id', '=', id).execute();
  return id;
}

test(
  'a client that reads slowly gets a snapshot of megabytes whole before the end of the answer',
  async () => {
    const node = await plane.node({}, SHORT_STALL);
    const id = await topologyOfMegabytes(1, 8);
    const token = await plane.token(node.url);
    const client = await RawClient.open(`${node.url}/api/v1/topologies/${id}/events?once=1`, token);
    raw.push(client);
    client.trickle(READ_EVERY_MS);
    await until('the end', () => client.closed || client.finished, LIMIT_MS);
    expect([client.finished, client.offsets]).toEqual([true, [0]]);
    expect(client.received).toBeGreaterThan(8 * 1024 * 1024);
  },
  LIMIT_MS,
);

test(
  'a client that reads slowly is not dropped in the middle of megabytes, and goes on with what comes then',
  async () => {
    const node = await plane.node({}, SHORT_STALL);
    const id = await topologyOfMegabytes(11, 24);
    const client = await RawClient.open(`${node.url}/api/v1/topologies/${id}/events`, await plane.token(node.url));
    raw.push(client);
    client.trickle(READ_EVERY_MS);
    await until('some of it', () => client.received > 0);
    await log.publish([{ event: createEvent('decky.web-1.traffic', 'traffic', { topology_id: id }) }]);
    await until('all of it', () => client.closed || client.offsets.length === 2, LIMIT_MS);
    expect(client.offsets).toEqual([0, 1]);
  },
  LIMIT_MS,
);
