import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { Clients, enqueue, eventsOf, newTopology, offsetsOf, publishState } from './support.ts';

const LIMIT_MS = 60_000;
const PATIENCE_MS = 30_000;

describe('a node that starts while Redis accepts and does not serve', () => {
  const clients = new Clients();
  let plane: Plane;
  beforeEach(async () => {
    plane = await createPlane();
  });
  afterEach(async () => {
    clients.close();
    await plane.stop();
  });

  const readiness = async (node: App) => {
    const response = await fetch(`${node.url}/readyz`);
    const { checks } = JSON.parse(await response.text());
    return { status: response.status, tail: checks.tail, redis: checks.redis };
  };

  /** While Redis is not there: a client comes, and the node says that it is not ready. */
  async function openBlind(node: App) {
    const { status, tail, redis } = await readiness(node);
    expect({ status, tail, redis }).toMatchObject({ status: 503, tail: { ok: false }, redis: { ok: false } });
    expect(tail.seconds_since_caught_up).toBeNull();
    const token = await plane.token(node.url);
    const id = await newTopology(plane);
    const client = await clients.open(node, `/topologies/${id}/events`, { token });
    await client.untilEvent('snapshot');
    await enqueue(node, token, id);
    return { token, id, client };
  }

  /** Redis is there: live events of all kinds arrive, once, in order. */
  async function expectLive(node: App, { token, id, client }: Awaited<ReturnType<typeof openBlind>>) {
    await until('readiness', async () => (await readiness(node)).status === 200, PATIENCE_MS);
    await until('a position', () => client.lastId !== '', PATIENCE_MS);
    // What was enqueued meanwhile comes first.
    const waiting = () => plane.database.db.selectFrom('outbox').select('seq').execute();
    await until('the relay', async () => (await waiting()).length === 0, PATIENCE_MS);
    await publishState(node, token, id, 'up');
    await enqueue(node, token, id);
    await until('the events', () => eventsOf(client.frames).at(-1)?.event === 'mutation.enqueued', PATIENCE_MS);
    const events = eventsOf(client.frames).slice(-2);
    expect(events.map(({ event }) => event)).toEqual(['decky.state', 'mutation.enqueued']);
    expect(offsetsOf(events)).toEqual([2, 3]);
    expect(client.ended).toBe(false);
  }

  test(
    'because it is stopped: delivers live events when it goes on',
    async () => {
      await plane.redis.pause();
      const node = await plane.node();
      const opened = await openBlind(node);
      plane.redis.resume();
      await expectLive(node, opened);
    },
    LIMIT_MS,
  );

  test(
    'because what is in between closes every connection after 50 ms: delivers live events when that is repaired',
    async () => {
      const proxy = await startTcpProxy({ path: plane.redis.url });
      proxy.closeAfter(50);
      const node = await plane.node({}, { REDIS_URL: `redis://127.0.0.1:${proxy.port}` });
      const opened = await openBlind(node);
      const before = proxy.accepted;
      await until('more attempts', () => proxy.accepted > before + 10, PATIENCE_MS);
      proxy.closeAfter(undefined);
      await expectLive(node, opened);
      await proxy.cut();
    },
    LIMIT_MS,
  );
});
