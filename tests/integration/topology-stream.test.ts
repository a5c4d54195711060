import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';

for (const engine of ENGINES) {
  describe(`a topology's stream on ${engine}`, () => {
    let plane: Plane;
    let node: App;
    let token: string;
    const open: SseClient[] = [];
    const connect = async (path: string, init: { lastId?: string } = {}) => {
      const client = await SseClient.open(`${node.url}/api/v1${path}`, { token, ...init });
      open.push(client);
      return client;
    };
    const enqueue = (id: string, op = 'add_lan') =>
      call(node.url, token, 'POST', `/topologies/${id}/mutations`, { op, payload: { name: 'x' } });

    beforeAll(async () => {
      plane = await createPlane(engine);
      node = await plane.node();
      token = await plane.token(node.url);
    });
    afterAll(async () => {
      for (const client of open) client.close();
      await plane.stop();
    });

    test('opens with retry, keepalive and the snapshot at a position', async () => {
      const id = await topology(plane);
      const client = await connect(`/topologies/${id}/events`);
      const snapshot = await client.untilEvent('snapshot');
      expect(client.status).toBe(200);
      expect(client.response?.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      expect(client.response?.headers.get('cache-control')).toBe('no-cache');
      expect(client.response?.headers.get('x-accel-buffering')).toBe('no');
      expect(client.comments[0]).toBe('keepalive');
      expect(client.retry).toBeGreaterThan(0);
      expect(snapshot.id).toMatch(/^[0-9a-z]+\.0\.0$/);
      expect(JSON.parse(snapshot.data)).toEqual({ topology_id: id, status: 'active', in_flight: [] });
    });

    test('a mutation reaches the client as a numbered event with the contract’s shape', async () => {
      const id = await topology(plane);
      const client = await connect(`/topologies/${id}/events`);
      await client.untilEvent('snapshot');
      const answer = await enqueue(id);
      expect(answer.status).toBe(202);
      const { mutation_id } = (await answer.json()) as { mutation_id: string };
      const frame = await client.untilEvent('mutation.enqueued');
      expect(frame.id).toMatch(/^[0-9a-z]+\.1\.[0-9a-f]{8}$/);
      const { ts, ...data } = JSON.parse(frame.data);
      expect(typeof ts).toBe('number');
      expect(data).toEqual({
        topic: `topology.${id}.mutation.enqueued`,
        type: 'enqueued',
        payload: { mutation_id, op: 'add_lan', payload: { name: 'x' } },
      });
    });

    test('resumes after the last id without loss, duplicate or snapshot', async () => {
      const id = await topology(plane);
      const first = await connect(`/topologies/${id}/events`);
      await first.untilEvent('snapshot');
      await enqueue(id);
      const seen = await first.untilEvent('mutation.enqueued');
      first.close();
      for (let count = 0; count < 3; count += 1) await enqueue(id);
      const second = await connect(`/topologies/${id}/events`, { lastId: seen.id });
      await second.untilFrames(4);
      await enqueue(id);
      await second.untilFrames(5);
      expect(second.frames.map((frame) => frame.event)).toEqual([
        'resumed',
        ...Array.from({ length: 4 }, () => 'mutation.enqueued'),
      ]);
      const [epoch] = seen.id.split('.');
      const places = second.frames.map((frame) => frame.id.split('.').slice(0, 2).join('.'));
      expect(places).toEqual([1, 2, 3, 4, 5].map((offset) => `${epoch}.${offset}`));
    });

    test.each([
      ['malformed', () => 'what?'],
      ['epoch', () => 'zzzzzzzz.1.0a1b2c3d'],
      ['ahead', (id: string) => `${id.split('.')[0]}.999.0a1b2c3d`],
      // The number is there, and it belongs to another event: Redis came back older and went on.
      ['ahead', (id: string) => `${id.split('.').slice(0, 2).join('.')}.0a1b2c3d`],
    ])('answers an unusable cursor with reset (%s) and a snapshot', async (reason, cursor) => {
      const id = await topology(plane);
      const first = await connect(`/topologies/${id}/events`);
      const { id: position } = await first.untilEvent('snapshot');
      const client = await connect(`/topologies/${id}/events`, { lastId: cursor(position) });
      await client.untilEvent('snapshot');
      expect(client.frames.map((frame) => frame.event)).toEqual(['reset', 'snapshot']);
      expect(JSON.parse(client.frames[0]?.data ?? '')).toEqual({ reason });
    });

    test('once=1 answers the missed events and ends', async () => {
      const id = await topology(plane);
      const fresh = await connect(`/topologies/${id}/events?once=1`);
      await fresh.untilEnded();
      expect(fresh.frames.map((frame) => frame.event)).toEqual(['snapshot']);
      await enqueue(id);
      await enqueue(id);
      const watcher = await connect(`/topologies/${id}/events`, { lastId: fresh.lastId });
      await watcher.untilFrames(3);
      const missed = await connect(`/topologies/${id}/events?once=1`, { lastId: fresh.lastId });
      await missed.untilEnded();
      expect(missed.frames.map((frame) => frame.event)).toEqual(['resumed', 'mutation.enqueued', 'mutation.enqueued']);
    });

    test('an idle stream is kept alive', async () => {
      const id = await topology(plane);
      const client = await connect(`/topologies/${id}/events`);
      await until('three keepalives', () => client.comments.length >= 3);
    });
  });
}

async function topology(plane: Plane): Promise<string> {
  const id = crypto.randomUUID();
  const now = new Date().toISOString();
  await plane.database.db
    .insertInto('topologies')
    .values({
      id,
      name: `t-${id}`,
      mode: 'unihost',
      target_host_uuid: null,
      config_snapshot: '{}',
      status: 'active',
      status_changed_at: now,
      created_at: now,
    })
    .execute();
  return id;
}
