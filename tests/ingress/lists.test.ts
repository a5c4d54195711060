import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { SseClient } from '../support/sse-client.ts';
import { until } from '../support/until.ts';

let plane: Plane;
let node: App;
let token: string;
beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
});
afterAll(() => plane.stop());

const event = (n: number, id?: string) => ({
  topic: 'decky.web-1.state',
  type: 'state',
  payload: { n },
  ...(id === undefined ? {} : { id }),
});

async function publish(body: unknown) {
  const response = await fetch(`${node.url}/api/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

describe('a list of events', () => {
  test('is published in its order, and answered for each', async () => {
    const stream = await SseClient.open(`${node.url}/api/v1/events?topics=decky.>`, { token });
    try {
      await stream.untilEvent('ready');
      const list = Array.from({ length: 300 }, (_, n) => event(n));
      const { status, body } = await publish(list);
      expect(status).toBe(202);
      const first = body.results[0].offsets.log;
      expect(body.results.map(({ offsets }: { offsets: { log: number } }) => offsets.log)).toEqual(
        list.map((_, n) => first + n),
      );
      expect(new Set(body.results.map(({ id }: { id: string }) => id)).size).toBe(300);
      const shown = () => stream.named('message').map(({ data }) => JSON.parse(data).payload.n);
      await until('all of them', () => shown().length === 300);
      expect(shown()).toEqual(list.map((_, n) => n));
    } finally {
      stream.close();
    }
  });

  test('tells which were refused and why, and publishes the others; again it changes nothing', async () => {
    const [mine, taken] = [crypto.randomUUID(), crypto.randomUUID()];
    expect((await publish(event(0, taken))).status).toBe(202);
    const list = [event(1, mine), { payload: {} }, { ...event(2), topic: 'a b' }, event(3, taken), 7, event(4, 'x y')];
    const { status, body } = await publish(list);
    expect(status).toBe(207);
    const refused = (code: number, detail: string) => ({
      error: { status: code, detail: expect.stringContaining(detail) },
    });
    expect(body.results).toEqual([
      { id: mine, epoch: expect.any(String), offsets: expect.any(Object), duplicate: false },
      refused(422, 'topic must be a string'),
      refused(422, 'whitespace'),
      refused(409, taken),
      refused(422, 'JSON object'),
      refused(422, 'id must have'),
    ]);
    const again = await publish(list);
    expect(again.body.results[0]).toEqual({ ...body.results[0], duplicate: true });
    expect(again.body.results.slice(1)).toEqual(body.results.slice(1));
  });

  test('of none, or of more than a thousand, is refused', async () => {
    for (const length of [0, 1001]) {
      const refused = await publish(Array.from({ length }, (_, n) => event(n)));
      expect(refused).toEqual({ status: 422, body: { detail: 'Give 1 to 1000 events at once' } });
    }
    expect((await publish(Array.from({ length: 1000 }, (_, n) => event(n)))).status).toBe(202);
  });

  test('of somebody who may not publish is refused as a whole', async () => {
    const viewer = await plane.token(node.url, 'viewer');
    expect((await call(node.url, viewer, 'POST', '/events', [event(1)])).status).toBe(403);
  });
});

describe('one event', () => {
  test.each([
    [undefined, 400],
    [{ payload: {} }, 400],
    [{ topic: '', payload: {} }, 400],
    [{ topic: 7, payload: {} }, 400],
    [{ topic: 'decky.a.b' }, 400],
    [{ topic: 'decky.a.b', type: 7, payload: {} }, 400],
    [{ topic: 'decky.a.b', payload: [] }, 422],
    [{ topic: 'decky.a b', payload: {} }, 422],
    [{ topic: 'decky.a.b', payload: {}, id: 7 }, 422],
    [7, 422],
    [null, 422],
    ['text', 422],
  ])('that is %p is a %i that says why', async (body, status) => {
    expect(await publish(body)).toEqual({ status, body: { detail: expect.any(String) } });
  });
});
