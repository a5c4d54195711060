import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { pageOf } from './page.ts';
import { LIMIT_MS } from './support.ts';

let plane: Plane;
let node: App;
let admin: string;
beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  admin = await plane.token(node.url);
}, LIMIT_MS);
afterAll(() => plane.stop());

const FIRST = { username: 'newcomer', password: 'Chosen-by-an-admin-1' };
const CHOSEN = 'Chosen-by-myself-2';

test('who has to change the password is led through it, and is told what a new one needs', async () => {
  const created = await pageOf(node, admin)('POST', '/config/users', { ...FIRST, role: 'viewer' });
  expect(created).toMatchObject({ status: 200, body: { must_change_password: true } });
  const login = (password: string) => pageOf(node, '')('POST', '/auth/login', { username: FIRST.username, password });
  const { status, body } = await login(FIRST.password);
  expect([status, body.must_change_password]).toEqual([200, true]);
  const page = pageOf(node, body.access_token);
  const refusal = { status: 403, body: { detail: expect.any(String) } };
  for (const path of ['/logs', '/attackers', '/identities', '/campaigns'])
    expect(await page('GET', path)).toEqual(refusal);
  expect(await page('POST', '/auth/sse-ticket')).toEqual(refusal);
  const change = (new_password: string) =>
    page('POST', '/auth/change-password', { old_password: FIRST.password, new_password });
  // The form lets eight characters through and shows the answer.
  expect(await change('eight888')).toEqual({ status: 400, body: { detail: expect.stringContaining('12 characters') } });
  expect((await change(CHOSEN)).status).toBe(200);
  expect((await page('GET', '/logs')).status).toBe(401);
  expect(await login(FIRST.password)).toEqual({ status: 401, body: { detail: expect.any(String) } });
  const again = await login(CHOSEN);
  expect([again.status, again.body.must_change_password]).toEqual([200, false]);
  expect((await pageOf(node, again.body.access_token)('GET', '/logs')).status).toBe(200);
});
