import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import type { Socket } from 'bun';
import type { Redis } from 'ioredis';
import { formatCursor } from '../../src/bus/cursor.ts';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { ChildNode } from '../support/child-node.ts';
import { until } from '../support/until.ts';
import { groupsOf, newTopology, range } from './support.ts';

const LIMIT_MS = 120_000;
const EVENTS = 60;
/** What a replaying client reads in full. */
const REPLAYED = 12;
const EVENT_BYTES = 2 * 1024 * 1024 - 2048;
const CLIENTS = 50;
/** What the README promises of a process, whatever its clients do. */
const BOUND_MB = 512;

/** A client that counts: whatever it did with the bytes would be slower than the server. */
class CountingClient {
  received = 0;
  #socket: Socket | undefined;

  static async open(url: string, token: string): Promise<CountingClient> {
    const { hostname, port, pathname, search } = new URL(url);
    const client = new CountingClient();
    client.#socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, bytes) => {
          client.received += bytes.length;
        },
      },
    });
    const head = [`GET ${pathname}${search} HTTP/1.1`, `host: ${hostname}:${port}`, `authorization: Bearer ${token}`];
    client.#socket.write(`${head.join('\r\n')}\r\n\r\n`);
    return client;
  }

  pause(): void {
    this.#socket?.pause();
  }

  close(): void {
    this.#socket?.terminate();
  }
}

let plane: Plane;
let node: ChildNode;
let redis: Redis;
let log: EventLog;
let id: string;
let token: string;
let clients: CountingClient[] = [];
beforeAll(async () => {
  plane = await createPlane();
  redis = plane.redis.client();
  log = new EventLog(redis, plane.config.bus);
  node = await plane.child({ DECNET_SSE_STALL_SECONDS: '600' });
  token = await plane.token(node.url);
  id = await newTopology(plane);
  await log.position('log');
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => plane.stop());

/** The most memory that the node has, looked at again and again, until a condition holds; in MB. */
async function mostUntil(what: string, condition: () => boolean | Promise<boolean>): Promise<number> {
  let most = 0;
  const look = () => {
    const { stdout } = Bun.spawnSync(['ps', '-o', 'rss=', '-p', String(node.pid)]);
    most = Math.max(most, Number(stdout.toString()) / 1024);
  };
  const timer = setInterval(look, 50);
  try {
    await until(what, condition, LIMIT_MS);
  } finally {
    clearInterval(timer);
  }
  look();
  return most;
}

const health = async () => JSON.parse(await (await fetch(`${node.url}/readyz`)).text());

/** So many clients resume behind an event. */
async function resume(offset: number): Promise<CountingClient[]> {
  const channel = `topology.${id}`;
  const { epoch, readerProof } = await log.position(channel, offset);
  const cursor = formatCursor({ epoch, offset, proof: readerProof, revision: 0 });
  const url = `${node.url}/api/v1/topologies/${id}/events?last_event_id=${cursor}`;
  clients = await Promise.all(range(1, CLIENTS).map(() => CountingClient.open(url, token)));
  return clients;
}

test(
  'a node that was stopped reads what has piled up meanwhile within its bound',
  async () => {
    const witness = await CountingClient.open(`${node.url}/api/v1/topologies/${id}/events`, token);
    clients = [witness];
    process.kill(node.pid, 'SIGSTOP');
    try {
      const payload = { topology_id: id, padding: 'x'.repeat(EVENT_BYTES) };
      for (const n of range(1, EVENTS)) {
        await log.publish([{ event: createEvent('decky.web-1.traffic', 'traffic', { ...payload, n }) }]);
      }
    } finally {
      process.kill(node.pid, 'SIGCONT');
    }
    const most = await mostUntil('the tail', async () => (await health()).checks.tail.offset === EVENTS);
    expect(most).toBeLessThan(BOUND_MB);
  },
  LIMIT_MS,
);

test(
  'fifty clients that ask for all of it and take nothing stay within its bound',
  async () => {
    for (const client of await resume(0)) client.pause();
    // Each has been read an event, which it does not take: the log is where the rest stays.
    const most = await mostUntil('all to be full', async () => {
      const groups = await groupsOf(redis, id);
      return groups.filter(({ position }) => position !== '0-0').length === CLIENTS;
    });
    expect(most).toBeLessThan(BOUND_MB);
  },
  LIMIT_MS,
);

test(
  'fifty clients that replay at the same time stay within its bound',
  async () => {
    const readers = await resume(EVENTS - REPLAYED);
    const all = REPLAYED * EVENT_BYTES;
    const most = await mostUntil('everything at everyone', () => readers.every(({ received }) => received > all));
    expect(most).toBeLessThan(BOUND_MB);
  },
  LIMIT_MS,
);

test(
  'a hundred clients, half of which take nothing while the others replay, stay within its bound',
  async () => {
    const readers = await resume(EVENTS - REPLAYED);
    const stalled = await resume(EVENTS - REPLAYED);
    for (const client of stalled) client.pause();
    clients = [...readers, ...stalled];
    const all = REPLAYED * EVENT_BYTES;
    const most = await mostUntil('everything at every reader', () => readers.every(({ received }) => received > all));
    expect(most).toBeLessThan(BOUND_MB);
  },
  LIMIT_MS,
);
