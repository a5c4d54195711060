import { afterAll, beforeAll, expect, test } from 'bun:test';
import { treaty } from '@elysiajs/eden';
import type { App } from '../src/api.ts';
import type { App as Node } from '../src/main.ts';
import { newTopology } from './integration/support.ts';
import { ADMIN, createPlane, type Plane } from './support/app.ts';

let plane: Plane;
let node: Node;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  await plane.token(node.url);
});
afterAll(() => plane.stop());

test('a client of Eden signs in, lists topologies and publishes', async () => {
  const id = await newTopology(plane);
  const { api: anyone } = treaty<App>(node.url);
  const session = await anyone.v1.auth.login.post({ username: 'admin-user', password: ADMIN.password });
  if (session.error) throw session.error.value;
  const headers = { authorization: `Bearer ${session.data.access_token}` };
  const { v1: api } = treaty<App>(node.url, { headers }).api;

  const { data: topologies } = await api.topologies.get({ query: { limit: 10, offset: 0 } });
  const ids: string[] | undefined = topologies?.data.map((topology) => topology.id);
  expect(ids).toEqual([id]);

  // @ts-expect-error a topology has no such field
  expect(topologies?.data[0]?.nonsense).toBeUndefined();

  const { data: topology } = await api.topologies({ id }).get();
  const name: string | undefined = topology?.topology.name;
  expect(name).toBeString();

  const published = await api.events.post({ topic: 'attacker.seen', type: 'seen', payload: { ip: '192.0.2.1' } });
  const { data } = published;
  const offsets: Readonly<Record<string, number>> | undefined = data && 'offsets' in data ? data.offsets : undefined;
  expect({ status: published.status, offsets }).toEqual({ status: 202, offsets: { attacker: 1, log: 1 } });
});

test('what does not fit is an error of the type checker, and of the server', async () => {
  const { api } = treaty<App>(node.url);
  // @ts-expect-error the password is missing
  const { error } = await api.v1.auth.login.post({ username: 'admin-user' });
  expect(Number(error?.status)).toBe(400);
  // @ts-expect-error there is no such route
  const nowhere = await api.v1.nowhere.get();
  expect(nowhere.error?.status).toBe(404);
});
