import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, bodyOf, createAuthApp } from './support.ts';

const NEW_PASSWORD = 'a-new-long-password';

for (const engine of ENGINES) {
  describe(engine, () => {
    let app: AuthApp;
    beforeAll(async () => {
      app = await createAuthApp(engine);
    });
    afterAll(() => app.dispose());

    describe('GET /auth/me', () => {
      const me = async (token?: string) => app.call('GET', '/auth/me', { token });

      test('says who it is and what it may do', async () => {
        const [viewer, admin] = [await app.member('viewer'), await app.member('admin')];
        const ofViewer = await bodyOf(await me(viewer.token));
        const { uuid, username: name } = viewer;
        expect(ofViewer).toMatchObject({ uuid, name, role: 'viewer', publish: [], control: false });
        expect(ofViewer.subscribe).toContain('attacker.>');
        expect(ofViewer.subscribe).not.toContain('credential.>');
        expect(ofViewer.expires_at).toBeGreaterThan(Date.now() / 1000);
        const ofAdmin = await bodyOf(await me(admin.token));
        expect(ofAdmin).toMatchObject({ role: 'admin', control: true });
        expect(ofAdmin.publish).toContain('>');
        expect(ofAdmin.subscribe).toContain('credential.>');
        expect(ofAdmin.subscribe).not.toContain('>');
      });

      test('is not for strangers, nor for whoever has to change the password first', async () => {
        expect((await me()).status).toBe(401);
        expect((await me((await app.member('admin', { mustChange: true })).token)).status).toBe(403);
      });
    });

    describe('POST /auth/login', () => {
      test('answers a token that works, and is not to be stored', async () => {
        const { username, password, uuid } = await app.member('viewer');
        const response = await app.call('POST', '/auth/login', { body: { username, password } });
        expect(response.status).toBe(200);
        expect(response.headers.get('cache-control')).toBe('no-store');
        const body = await bodyOf(response);
        expect(body).toEqual({ access_token: expect.any(String), token_type: 'bearer', must_change_password: false });
        expect((await app.principal(String(body.access_token))).userUuid).toBe(uuid);
      });

      test('says that the password has to be changed', async () => {
        const { username, password } = await app.member('viewer', { mustChange: true });
        const response = await app.call('POST', '/auth/login', { body: { username, password } });
        expect((await bodyOf(response)).must_change_password).toBe(true);
      });

      test('answers a wrong password and an unknown user alike', async () => {
        const { username } = await app.member('viewer');
        const wrong = await app.call('POST', '/auth/login', { body: { username, password: 'wrong' } });
        const unknown = await app.call('POST', '/auth/login', { body: { username: 'nobody', password: 'wrong' } });
        expect([wrong.status, unknown.status]).toEqual([401, 401]);
        expect(wrong.headers.get('www-authenticate')).toBe('Bearer');
        expect(await unknown.text()).toBe(await wrong.text());
      });

      test('an unknown user costs as much time as a wrong password', async () => {
        const { username } = await app.member('viewer');
        const fastest = async (name: string) => {
          const times: number[] = [];
          for (let round = 0; round < 3; round += 1) {
            const start = performance.now();
            await app.users.findByCredentials(name, 'wrong password');
            times.push(performance.now() - start);
          }
          return Math.min(...times);
        };
        const known = await fastest(username);
        expect(await fastest('nobody')).toBeGreaterThan(known / 4);
      });

      const username = 'somebody';
      const cases: [name: string, body: unknown, status: number][] = [
        ['a missing password', { username }, 400],
        ['a missing user name', { password: 'x' }, 400],
        ['a password that is a number', { username, password: 7 }, 400],
        ['no body', undefined, 400],
        ['a password of 73 characters', { username, password: 'x'.repeat(73) }, 422],
        ['malformed JSON', '{', 422],
        ['an empty password', { username, password: '' }, 401],
      ];
      for (const [name, body, status] of cases) {
        test(`${status} for ${name}`, async () => {
          expect((await app.call('POST', '/auth/login', { body })).status).toBe(status);
        });
      }

      test('415 for a form', async () => {
        const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '3' };
        expect((await app.call('POST', '/auth/login', { body: 'a=b', headers })).status).toBe(415);
      });
    });

    describe('POST /auth/change-password', () => {
      const change = (token: string | undefined, old_password: string, new_password = NEW_PASSWORD) =>
        app.call('POST', '/auth/change-password', { token, body: { old_password, new_password } });

      test('clears must_change_password and ends every session of the user, the caller`s too', async () => {
        const { username, password, token, uuid } = await app.member('viewer', { mustChange: true });
        const response = await change(token, password);
        expect(response.status).toBe(200);
        expect(await bodyOf(response)).toEqual({ message: 'Password updated successfully' });
        expect((await app.call('GET', '/config', { token })).status).toBe(401);
        const login = await app.call('POST', '/auth/login', { body: { username, password: NEW_PASSWORD } });
        const body = await bodyOf(login);
        expect(body.must_change_password).toBe(false);
        // In the same second as the change, perhaps: the new session must live.
        expect((await app.call('GET', '/config', { token: String(body.access_token) })).status).toBe(200);
        expect((await app.call('POST', '/auth/login', { body: { username, password } })).status).toBe(401);
        const user = await app.db.selectFrom('users').selectAll().where('uuid', '=', uuid).executeTakeFirstOrThrow();
        expect(Date.parse(user.tokens_valid_from ?? '')).toBeCloseTo(Date.now(), -4);
      });

      test('of two changes at once one wins', async () => {
        const { password, token } = await app.member('viewer');
        const answers = await Promise.all([change(token, password), change(token, password, 'another-new-password')]);
        expect(answers.map(({ status }) => status).sort()).toEqual([200, 401]);
      });

      const cases: [name: string, old: string | undefined, fresh: string, status: number][] = [
        ['a wrong old password', 'wrong', NEW_PASSWORD, 401],
        ['a new password of 11 characters', undefined, 'x'.repeat(11), 400],
        ['a new password of 73 characters', undefined, 'x'.repeat(73), 422],
        ['a new password of 72 characters and 73 bytes', undefined, `${'x'.repeat(71)}é`, 422],
        ['an old password of 72 characters and 73 bytes', `${'x'.repeat(71)}é`, NEW_PASSWORD, 422],
        ['a new password of 12 characters', undefined, 'x'.repeat(12), 200],
        ['a new password of 72 bytes', undefined, 'é'.repeat(36), 200],
      ];
      for (const [name, old, fresh, status] of cases) {
        test(`${status} for ${name}`, async () => {
          const { password, token } = await app.member('viewer');
          expect((await change(token, old ?? password, fresh)).status).toBe(status);
        });
      }

      test('a refused change ends no session', async () => {
        const { token } = await app.member('viewer');
        expect((await change(token, 'wrong')).status).toBe(401);
        expect((await app.call('GET', '/config', { token })).status).toBe(200);
      });

      test('reads the body before it asks who is there, and asks before it checks the schema', async () => {
        const path = '/auth/change-password';
        expect((await app.call('POST', path, { body: '{' })).status).toBe(422);
        expect((await app.call('POST', path, { body: {} })).status).toBe(401);
        const { token } = await app.member('viewer');
        expect((await app.call('POST', path, { token, body: {} })).status).toBe(400);
      });
    });

    describe('POST /auth/logout', () => {
      test('ends this session only, and is refused the second time', async () => {
        const { token, uuid } = await app.member('viewer', { mustChange: true });
        const other = await app.tokens.issueAccess(uuid);
        const response = await app.call('POST', '/auth/logout', { token });
        expect(response.status).toBe(200);
        expect(await bodyOf(response)).toEqual({ message: 'Logged out' });
        expect((await app.call('POST', '/auth/logout', { token })).status).toBe(401);
        expect((await app.call('POST', '/auth/logout', { token: other })).status).toBe(200);
      });

      test('401 without a token', async () => {
        expect((await app.call('POST', '/auth/logout')).status).toBe(401);
      });
    });

    describe('POST /auth/sse-ticket', () => {
      test('mints a ticket for either role', async () => {
        for (const role of ['viewer', 'admin'] as const) {
          const { token } = await app.member(role);
          const response = await app.call('POST', '/auth/sse-ticket', { token });
          expect(response.status).toBe(200);
          expect(await bodyOf(response)).toEqual({ ticket: expect.stringMatching(/^[\w-]{43}$/), expires_in: 60 });
        }
      });

      test('403 while the password has to be changed, 401 without a token', async () => {
        const { token } = await app.member('viewer', { mustChange: true });
        const response = await app.call('POST', '/auth/sse-ticket', { token });
        expect(response.status).toBe(403);
        expect((await bodyOf(response)).detail).toBe('Password change required before accessing this resource');
        expect((await app.call('POST', '/auth/sse-ticket')).status).toBe(401);
      });
    });

    test('no guard reaches routes declared after its plugin', async () => {
      const response = await app.call('GET', '/open');
      expect(await response.text()).toBe('no guard here');
    });

    test('no password, token or ticket reaches the log', async () => {
      const watched = await createAuthApp(engine);
      const admin = await watched.member('admin');
      const target = await watched.member('viewer');
      const login = await watched.call('POST', '/auth/login', { body: admin });
      const access_token = String((await bodyOf(login)).access_token);
      await watched.call('POST', '/auth/login', { body: { username: admin.password, password: 'wrong' } });
      const minted = await watched.call('POST', '/auth/sse-ticket', { token: access_token });
      const ticket = String((await bodyOf(minted)).ticket);
      const url = `http://localhost/api/v1/identities/events?ticket=${ticket}`;
      await watched.streams().authenticateStream(new Request(url));
      watched.redis.disconnect();
      const outage = await watched.call('POST', '/auth/sse-ticket', { token: access_token });
      expect(outage.status).toBe(503);
      const reset = { token: admin.token, body: { new_password: 'reset-to-this-one' } };
      await watched.call('PUT', `/config/users/${target.uuid}/reset-password`, reset);
      const change = { old_password: admin.password, new_password: NEW_PASSWORD };
      await watched.call('POST', '/auth/change-password', { token: access_token, body: change });
      await watched.db.destroy();
      expect((await watched.call('POST', '/auth/login', { body: admin })).status).toBeGreaterThanOrEqual(500);
      const written = watched.lines.join('\n');
      expect(written).toContain('password changed');
      expect(written).toContain('tickets are unavailable');
      const secrets = [admin.password, access_token, admin.token, ticket, 'reset-to-this-one', NEW_PASSWORD, '$argon2'];
      for (const secret of secrets) expect(written).not.toContain(secret);
      await watched.dispose();
    });
  });
}
