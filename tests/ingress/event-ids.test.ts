import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { keys } from '../../src/bus/keys.ts';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';

let plane: Plane;
let node: App;
let token: string;
beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  token = await plane.token(node.url);
});
let id: string;
beforeEach(() => {
  id = crypto.randomUUID();
});
afterAll(() => plane.stop());

const FIRST = {
  topic: 'decky.web-1.state',
  type: 'state',
  payload: { state: 'up', ports: [22, 80], os: { name: 'linux', version: 6 } },
};

async function publish(body: object) {
  const response = await call(node.url, token, 'POST', '/events', body);
  return { status: response.status, body: JSON.parse(await response.text()) };
}

describe('an event id that was published', () => {
  test('again with the same event is told the first place', async () => {
    const first = await publish({ ...FIRST, id });
    expect(first).toMatchObject({ status: 202, body: { duplicate: false } });
    expect(await publish({ ...FIRST, id })).toEqual({ status: 202, body: { ...first.body, duplicate: true } });
  });

  test('again with the same event whose names are in another order is the same event', async () => {
    const first = await publish({ ...FIRST, id });
    const payload = { os: { version: 6, name: 'linux' }, ports: [22, 80], state: 'up' };
    const again = await publish({ payload, id, type: 'state', topic: FIRST.topic });
    expect(again).toEqual({ status: 202, body: { ...first.body, duplicate: true } });
  });

  test.each([
    ['another value', { payload: { ...FIRST.payload, state: 'down' } }],
    ['a value of another kind', { payload: { ...FIRST.payload, ports: ['22', '80'] } }],
    ['a list in another order', { payload: { ...FIRST.payload, ports: [80, 22] } }],
    ['a name less', { payload: { state: 'up', ports: [22, 80] } }],
    ['a name more', { payload: { ...FIRST.payload, note: null } }],
    ['another type', { type: 'changed' }],
    ['another topic', { topic: 'decky.web-2.state' }],
  ])('for another event is refused, and nothing is published: %s', async (_what, change) => {
    const first = await publish({ ...FIRST, id });
    const { status, body } = await publish({ ...FIRST, ...change, id });
    expect(status).toBe(409);
    expect(body.detail).toContain(id);
    const next = await publish({ ...FIRST, id: crypto.randomUUID() });
    expect(next.body.offsets.log).toBe(first.body.offsets.log + 1);
    // The first is what it was.
    expect((await publish({ ...FIRST, id })).body).toEqual({ ...first.body, duplicate: true });
  });

  test('is free again after a flush, for any event', async () => {
    const first = await publish({ ...FIRST, id });
    await plane.redis.client().flushall();
    const anew = await publish({ ...FIRST, payload: { state: 'down' }, id });
    expect(anew).toMatchObject({ status: 202, body: { duplicate: false } });
    expect(anew.body.epoch).not.toBe(first.body.epoch);
    expect((await publish({ ...FIRST, id })).status).toBe(409);
  });

  test('is free again where the log is begun anew and only its memory of ids is left', async () => {
    const first = await publish({ ...FIRST, id });
    await plane.redis.client().del(keys.meta);
    const anew = await publish({ ...FIRST, id });
    expect(anew).toMatchObject({ status: 202, body: { duplicate: false } });
    expect(anew.body.epoch).not.toBe(first.body.epoch);
  });

  test('of a producer that chose none stands for itself', async () => {
    const first = await publish(FIRST);
    const again = await publish(FIRST);
    expect(again.body.id).not.toBe(first.body.id);
    expect(again).toMatchObject({ status: 202, body: { duplicate: false } });
  });
});
