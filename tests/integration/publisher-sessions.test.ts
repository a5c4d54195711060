import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { WsClient } from '../support/ws-client.ts';
import { Clients, newUser } from './support.ts';

const EVENT = { topic: 'decky.web-1.state', payload: { state: 'up' } };
const LIMIT_MS = 20_000;

const clients = new Clients();
let plane: Plane;
let one: App;
let other: App;
let admin: string;

beforeAll(async () => {
  plane = await createPlane();
  one = await plane.node();
  other = await plane.node();
  admin = await plane.token(one.url);
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

type User = Awaited<ReturnType<typeof newUser>>;

const publish = async ({ url }: App, token: string) => (await call(url, token, 'POST', '/events', EVENT)).status;
const reset = (user: User) =>
  call(one.url, admin, 'PUT', `/config/users/${user.uuid}/reset-password`, { new_password: 'another-word-42' });

describe('a producer whose session ends', () => {
  test('publishes nothing more on the node where that is done, and on others once they have heard of it', async () => {
    const user = await newUser(plane, one, 'admin');
    const heard = await clients.open(other, '/events?topics=system.>', { token: admin });
    await heard.untilEvent('ready');
    for (const node of [one, other, one, other]) expect(await publish(node, user.token)).toBe(202);
    expect((await reset(user)).status).toBe(200);
    // Here nobody waits for the event.
    expect(await publish(one, user.token)).toBe(401);
    await until('the revocation', () => heard.frames.some(({ data }) => JSON.stringify(data).includes(user.uuid)));
    expect(await publish(other, user.token)).toBe(401);
  });

  test('publishes nothing more on its socket', async () => {
    const user = await newUser(plane, one, 'admin');
    const socket = await WsClient.open(other.url, { token: user.token });
    try {
      expect(await socket.ask({ op: 'publish', event: EVENT })).toMatchObject({ op: 'published' });
      expect((await reset(user)).status).toBe(200);
      expect(await socket.untilClosed()).toMatchObject({ code: 4410 });
    } finally {
      socket.close();
    }
  });

  test(
    'is found out when it ended while the bus was away',
    async () => {
      const user = await newUser(plane, one, 'admin');
      expect(await publish(other, user.token)).toBe(202);
      await plane.redis.down();
      // The database alone knows: no event tells it.
      await plane.database.db.updateTable('users').set({ role: 'viewer' }).where('uuid', '=', user.uuid).execute();
      await plane.redis.up();
      await until('readiness', async () => (await fetch(`${other.url}/readyz`)).ok, LIMIT_MS);
      expect(await publish(other, user.token)).toBe(403);
    },
    LIMIT_MS,
  );
});
