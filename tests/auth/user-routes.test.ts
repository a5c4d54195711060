import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, bodyOf, createAuthApp } from './support.ts';

const PASSWORD = 'a-long-enough-password';

for (const engine of ENGINES) {
  describe(engine, () => {
    let app: AuthApp;
    let admin: Awaited<ReturnType<AuthApp['member']>>;
    let viewer: Awaited<ReturnType<AuthApp['member']>>;
    beforeAll(async () => {
      app = await createAuthApp(engine);
    });
    beforeEach(async () => {
      admin = await app.member('admin');
      viewer = await app.member('viewer');
    });
    afterAll(() => app.dispose());

    const send = (method: string, path: string, body?: unknown, token: string | undefined = admin.token) =>
      app.call(method, `/config${path}`, { token, body });

    test('POST /config/users creates a user who has to change the password', async () => {
      const username = `new-${crypto.randomUUID()}`;
      const response = await send('POST', '/users', { username, password: PASSWORD, role: 'viewer', extra: 1 });
      expect(response.status).toBe(200);
      const view = { uuid: expect.any(String), username, role: 'viewer', must_change_password: true };
      expect(await bodyOf(response)).toEqual(view);
      expect(await app.users.findByCredentials(username, PASSWORD)).toMatchObject({ username });
      const again = await send('POST', '/users', { username, password: PASSWORD, role: 'admin' });
      expect(again.status).toBe(409);
      expect(await bodyOf(again)).toEqual({ detail: 'Username already exists' });
    });

    test('of twenty creations of one name at once one succeeds', async () => {
      const body = { username: `race-${crypto.randomUUID()}`, password: PASSWORD, role: 'viewer' };
      const answers = await Promise.all(Array.from({ length: 20 }, () => send('POST', '/users', body)));
      const count = (wanted: number) => answers.filter(({ status }) => status === wanted).length;
      expect([count(200), count(409)]).toEqual([1, 19]);
    });

    const user = { username: 'u', password: PASSWORD, role: 'viewer' };
    const bodies: [name: string, method: string, path: string, body: unknown, status: number, says?: string][] = [
      ['no user name', 'POST', '/users', { ...user, username: undefined }, 400, 'username'],
      ['an empty user name', 'POST', '/users', { ...user, username: '' }, 400, 'username'],
      ['a user name of 65 characters', 'POST', '/users', { ...user, username: 'x'.repeat(65) }, 422],
      ['a password of 11 characters', 'POST', '/users', { ...user, password: 'x'.repeat(11) }, 400, 'at least 12'],
      ['a password of 73 characters', 'POST', '/users', { ...user, password: 'x'.repeat(73) }, 422, 'at most 72'],
      ['a password of 73 bytes', 'POST', '/users', { ...user, password: `${'x'.repeat(71)}é` }, 422],
      ['no role', 'POST', '/users', { ...user, role: undefined }, 400],
      ['an unknown role', 'POST', '/users', { ...user, role: 'root' }, 422, 'admin, viewer'],
      ['an unknown role', 'PUT', '/users/:viewer/role', { role: 'root' }, 422],
      ['no role', 'PUT', '/users/:viewer/role', {}, 400],
      ['a password of 8', 'PUT', '/users/:viewer/reset-password', { new_password: 'x'.repeat(8) }, 400, 'at least 12'],
      ['no password', 'PUT', '/users/:viewer/reset-password', {}, 400, 'new_password'],
      ['no object', 'POST', '/users', [], 422],
      ['no body', 'POST', '/users', undefined, 400],
      ['a password of 73 bytes', 'PUT', '/users/:viewer/reset-password', { new_password: `${'x'.repeat(71)}é` }, 422],
    ];
    for (const [name, method, path, body, status, says = ''] of bodies) {
      test(`${method} ${path}: ${status} for ${name}`, async () => {
        const response = await send(method, path.replace(':viewer', viewer.uuid), body);
        expect(response.status).toBe(status);
        // The page asks for eight characters only: what it shows must say what to do.
        expect((await bodyOf(response)).detail).toContain(says);
        expect((await send('GET', '', undefined, viewer.token)).status).toBe(200);
      });
    }

    const routes: [method: string, path: string, body: unknown][] = [
      ['POST', '/users', user],
      ['DELETE', '/users/:unknown', undefined],
      ['PUT', '/users/:unknown/role', { role: 'viewer' }],
      ['PUT', '/users/:unknown/reset-password', { new_password: PASSWORD }],
    ];
    for (const [method, template, body] of routes) {
      const path = template.replace(':unknown', crypto.randomUUID());
      test(`${method} ${template} is for admins, whatever the body`, async () => {
        const novice = await app.member('admin', { mustChange: true });
        for (const sent of [body, body === undefined ? undefined : {}]) {
          expect((await app.call(method, `/config${path}`, { body: sent })).status).toBe(401);
          expect((await send(method, path, sent, 'bad')).status).toBe(401);
          const early = await send(method, path, sent, novice.token);
          expect([early.status, (await bodyOf(early)).detail]).toEqual([403, expect.stringContaining('Password')]);
          const low = await send(method, path, sent, viewer.token);
          expect([low.status, (await bodyOf(low)).detail]).toEqual([403, 'Insufficient permissions']);
        }
      });
      if (template.includes(':unknown')) {
        test(`${method} ${template}: 404 for an unknown user`, async () => {
          expect((await send(method, path, body)).status).toBe(404);
        });
      }
    }

    test('a viewer who must change the password is told that first', async () => {
      const novice = await app.member('viewer', { mustChange: true });
      const response = await send('POST', '/users', user, novice.token);
      expect((await bodyOf(response)).detail).toStartWith('Password change required');
    });

    test('DELETE /config/users/{uuid} ends the user and every session', async () => {
      const response = await send('DELETE', `/users/${viewer.uuid}`);
      expect(response.status).toBe(200);
      expect(await bodyOf(response)).toEqual({ message: 'User deleted' });
      expect((await send('GET', '', undefined, viewer.token)).status).toBe(401);
      expect((await send('DELETE', `/users/${viewer.uuid}`)).status).toBe(404);
    });

    test('DELETE: 403 for oneself', async () => {
      expect((await send('DELETE', `/users/${admin.uuid}`)).status).toBe(403);
      expect((await send('GET', '')).status).toBe(200);
    });

    test('PUT role: 403 for oneself, and the role stays', async () => {
      for (const role of ['viewer', 'admin']) {
        expect((await send('PUT', `/users/${admin.uuid}/role`, { role })).status).toBe(403);
      }
      expect((await bodyOf(await send('GET', ''))).role).toBe('admin');
    });

    test.each(['delete', 'demote'] as const)('of two last admins who %s each other at once one stays', async (act) => {
      await app.db.updateTable('users').set({ role: 'viewer' }).execute();
      const [one, other] = [await app.member('admin'), await app.member('admin')];
      const remove = (uuid: string) => (act === 'delete' ? app.users.delete(uuid) : app.users.setRole(uuid, 'viewer'));
      const outcomes = await Promise.allSettled([remove(one.uuid), remove(other.uuid)]);
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'forbidden' } });
      const left = await app.db.selectFrom('users').select('uuid').where('role', '=', 'admin').execute();
      expect(left).toHaveLength(1);
    });

    test('PUT role changes the role and refuses the tokens of before', async () => {
      const old = app.olderToken(viewer.uuid);
      expect((await send('PUT', `/users/${viewer.uuid}/role`, { role: 'admin' })).status).toBe(200);
      expect((await send('GET', '', undefined, old)).status).toBe(401);
      const fresh = await app.tokens.issueAccess(viewer.uuid);
      expect((await bodyOf(await send('GET', '', undefined, fresh))).role).toBe('admin');
    });

    test('PUT reset-password sets a password to be changed and refuses the tokens of before', async () => {
      const old = app.olderToken(viewer.uuid);
      const body = { new_password: 'the-reset-password' };
      expect((await send('PUT', `/users/${viewer.uuid}/reset-password`, body)).status).toBe(200);
      expect((await send('GET', '', undefined, old)).status).toBe(401);
      const found = await app.users.findByCredentials(viewer.username, body.new_password);
      expect(found).toMatchObject({ uuid: viewer.uuid, must_change_password: true });
      expect(await app.users.findByCredentials(viewer.username, viewer.password)).toBeUndefined();
    });

    test('GET /config tells everybody the settings and admins the users', async () => {
      const settings = { deployment_limit: 7, global_mutation_interval: '11m' };
      expect(await bodyOf(await send('GET', '', undefined, viewer.token))).toEqual({ role: 'viewer', ...settings });
      const { users, ...rest } = await bodyOf(await send('GET', ''));
      expect(rest).toEqual({ role: 'admin', ...settings });
      const { uuid, username } = viewer;
      expect(users).toContainEqual({ uuid, username, role: 'viewer', must_change_password: false });
      expect((await app.call('GET', '/config')).status).toBe(401);
    });
  });
}
