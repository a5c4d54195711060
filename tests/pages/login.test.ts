import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { pageOf } from './page.ts';
import { LIMIT_MS } from './support.ts';

const words = { detail: expect.any(String) };

describe.each(ENGINES)('the sign-in page on %s', (engine) => {
  let plane: Plane;
  let node: App;
  beforeAll(async () => {
    plane = await createPlane(engine);
    node = await plane.node({}, { DECNET_LIMITER_ENABLED: 'true' });
  }, LIMIT_MS);
  afterAll(() => plane.stop());

  test('changes the first password and signs in again in the same second', async () => {
    const user = { username: 'new-viewer', password: 'a-first-password' };
    const admin = pageOf(node, await plane.token(node.url));
    expect((await admin('POST', '/config/users', { ...user, role: 'viewer' })).status).toBe(200);
    const page = pageOf(node, '');
    const first = await page('POST', '/auth/login', user);
    expect(first).toMatchObject({ status: 200, body: { must_change_password: true, token_type: 'bearer' } });

    const meanwhile = pageOf(node, first.body.access_token);
    expect(await meanwhile('GET', '/topologies/')).toEqual({ status: 403, body: words });
    const change = (new_password: string) =>
      meanwhile('POST', '/auth/change-password', { old_password: user.password, new_password });
    // The page's own rule is 8.
    expect(await change('8-chars.')).toEqual({ status: 400, body: words });
    expect(await change('a-second-password')).toMatchObject({ status: 200 });
    const second = await page('POST', '/auth/login', { ...user, password: 'a-second-password' });
    expect(second).toMatchObject({ status: 200, body: { must_change_password: false } });
    expect((await pageOf(node, second.body.access_token)('GET', '/topologies/')).status).toBe(200);
    expect((await meanwhile('GET', '/topologies/')).status).toBe(401);
  });

  test('says what is wrong in words: also that it was tried too often', async () => {
    const page = pageOf(node, '');
    const wrong = { username: 'nobody', password: 'wrong' };
    expect(await page('POST', '/auth/login', wrong)).toEqual({ status: 401, body: words });
    let answer = await page('POST', '/auth/login', wrong);
    for (let attempt = 0; attempt < 10 && answer.status === 401; attempt += 1) {
      answer = await page('POST', '/auth/login', wrong);
    }
    // Without `detail` the page would say that the password is wrong.
    expect(answer).toEqual({ status: 429, body: { error: expect.any(String), ...words } });
  });
});
