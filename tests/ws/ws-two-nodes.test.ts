import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { Clients, newTopology, range } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import type { ChildNode } from '../support/child-node.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';

const LIMIT_MS = 60_000;
const PATIENCE_MS = 30_000;

let plane: Plane;
let doomed: ChildNode;
let other: ChildNode;
let token: string;
const sockets: WsClient[] = [];
const clients = new Clients();

beforeAll(async () => {
  plane = await createPlane();
  [doomed, other] = await Promise.all([plane.child(), plane.child()]);
  token = await plane.token(other.url);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
  clients.close();
});
afterAll(() => plane.stop());

/** What a client has seen of its stream, whatever brought it. */
type Seen = () => readonly { readonly id: string | undefined; readonly event: string; readonly state: string }[];

async function bySocket(node: ChildNode, path: string, cursor?: string): Promise<Seen> {
  const socket = await WsClient.open(node.url, { token });
  sockets.push(socket);
  await socket.subscribe('a', path, cursor);
  return () =>
    socket.of('a').map(({ id, event = '', data }) => ({ id, event, state: String(data.payload?.state ?? '') }));
}

async function bySse(node: ChildNode, path: string, cursor?: string): Promise<Seen> {
  const client = await clients.open(node, path, { token, ...(cursor === undefined ? {} : { lastId: cursor }) });
  return () =>
    client.frames.map(({ id, event, data }) => ({ id, event, state: String(JSON.parse(data).payload?.state ?? '') }));
}

const eventsOf = (seen: Seen) => seen().filter(({ event }) => event === 'decky.state');

test(
  'a socket and an EventSource see the same ids through a restart of Redis, the death of their node, and a move to the other way',
  async () => {
    const id = await newTopology(plane);
    const path = `/topologies/${id}/events`;
    let last = 0;
    /** On the node that stays, with the same id again until it is acknowledged. */
    const publish = async (count: number) => {
      for (const n of range(last + 1, last + count)) {
        const body = {
          topic: 'decky.web-1.state',
          payload: { topology_id: id, state: `${n}` },
          id: crypto.randomUUID(),
        };
        const isTaken = async () => (await call(other.url, token, 'POST', '/events', body)).status === 202;
        await until('redis', isTaken, PATIENCE_MS);
      }
      last += count;
    };
    const bothHave = (a: Seen, b: Seen, count: number) =>
      until('the events', () => [a, b].every((seen) => eventsOf(seen).length === count), PATIENCE_MS);

    const [sse, socket] = [await bySse(doomed, path), await bySocket(doomed, path)];
    await until('both to have begun', () => sse().length === 1 && socket().length === 1);
    await publish(3);
    await bothHave(sse, socket, 3);
    await plane.redis.down();
    await plane.redis.up();
    await publish(3);
    await bothHave(sse, socket, 6);
    await doomed.kill();
    await publish(2); // While they are nowhere.

    const cursors = [sse().at(-1)?.id, socket().at(-1)?.id];
    const [movedSse, movedSocket] = [await bySocket(other, path, cursors[0]), await bySse(other, path, cursors[1])];
    await publish(2);
    await bothHave(movedSse, movedSocket, 4);

    expect(socket()).toEqual([...sse()]);
    expect(movedSocket()).toEqual([...movedSse()]);
    expect(movedSse()[0]).toMatchObject({ event: 'resumed', id: cursors[0] });
    const all = [...eventsOf(sse), ...eventsOf(movedSse)];
    expect(all.map(({ state }) => Number(state))).toEqual(range(1, 10));
    expect(all.map((event) => Number(event.id?.split('.')[1]))).toEqual(range(1, 10));
  },
  LIMIT_MS,
);
