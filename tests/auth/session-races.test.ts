import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { verifyPassword } from '../../src/auth/passwords.ts';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, bodyOf, createAuthApp } from './support.ts';

const NEW_PASSWORD = 'a-new-long-password';

for (const engine of ENGINES) {
  describe(engine, () => {
    let app: AuthApp;
    /** Runs once when the next password has been compared, before anybody is told. */
    let meanwhile: (() => Promise<unknown>) | undefined;
    beforeAll(async () => {
      app = await createAuthApp(engine, {
        async verify(password, hash) {
          const matches = await verifyPassword(password, hash);
          const happens = meanwhile;
          meanwhile = undefined;
          await happens?.();
          return matches;
        },
      });
    });
    afterAll(() => app.dispose());

    type Member = Awaited<ReturnType<AuthApp['member']>>;

    /** What ends all sessions of a user. */
    const changes: Record<string, (user: Member) => Promise<unknown>> = {
      'the password is changed': async ({ uuid, token, password }) => {
        await app.users.changePassword(await app.principal(token), password, NEW_PASSWORD);
        expect((await app.revocations(uuid)).length).toBe(1);
      },
      'the password is reset': ({ uuid }) => app.users.resetPassword(uuid, NEW_PASSWORD),
      'the role is changed': ({ uuid }) => app.users.setRole(uuid, 'viewer'),
      'the user is deleted': ({ uuid }) => app.users.delete(uuid),
    };

    for (const [name, change] of Object.entries(changes)) {
      test(`a login does not survive that ${name} while its password is compared`, async () => {
        const member = await app.member('admin');
        meanwhile = () => change(member);
        const { username, password } = member;
        // The token is issued after the change, in the same second or the next: no time tells that it may not be used.
        const { access_token } = await bodyOf(await app.call('POST', '/auth/login', { body: { username, password } }));
        expect((await app.call('GET', '/config', { token: String(access_token) })).status).toBe(401);
      });

      test(`a login of the same second does not survive that ${name}`, async () => {
        const member = await app.member('admin');
        const { username, password } = member;
        const { access_token } = await bodyOf(await app.call('POST', '/auth/login', { body: { username, password } }));
        const principal = await app.principal(String(access_token));
        expect(await app.authenticator.stillValid(principal, 'viewer')).toBe(true);
        await change(member);
        expect((await app.call('GET', '/config', { token: String(access_token) })).status).toBe(401);
        expect(await app.authenticator.stillValid(principal, 'viewer')).toBe(false);
      });

      test(`nor does a ticket that it was given before`, async () => {
        const member = await app.member('admin');
        const { username, password } = member;
        const { access_token } = await bodyOf(await app.call('POST', '/auth/login', { body: { username, password } }));
        // The session has passed the guard; what ends it comes before the ticket is stored.
        const principal = await app.principal(String(access_token));
        await change(member);
        const ticket = await app.tickets.mint(principal);
        const url = `http://localhost/api/v1/identities/events?ticket=${ticket}`;
        const opened = app.streams().authenticateStream(new Request(url));
        expect(await opened.catch((error: unknown) => error)).toMatchObject({ code: 'unauthenticated' });
      });
    }

    test('a change of password with the right old one loses to one that came while it was compared', async () => {
      const { username, password, token } = await app.member('viewer');
      const first = await app.principal(token);
      const second = await app.principal(token);
      meanwhile = () => app.users.changePassword(first, password, NEW_PASSWORD);
      const late = app.users.changePassword(second, password, 'the-late-password');
      expect(await late.catch((error: unknown) => error)).toMatchObject({ code: 'unauthenticated' });
      expect(await app.users.findByCredentials(username, NEW_PASSWORD)).toBeDefined();
    });

    const ends: Record<string, (user: Member) => Promise<unknown>> = {
      'is signed out': async ({ token }) => app.users.endSession(await app.principal(token)),
      'loses its role': ({ uuid }) => app.users.setRole(uuid, 'viewer'),
    };
    for (const [name, end] of Object.entries(ends)) {
      test(`a session that ${name} while passwords are compared changes none`, async () => {
        const member = await app.member('admin');
        const principal = await app.principal(member.token);
        meanwhile = () => end(member);
        const change = app.users.changePassword(principal, member.password, NEW_PASSWORD);
        expect(await change.catch((error: unknown) => error)).toMatchObject({ code: 'unauthenticated' });
        expect(await app.users.findByCredentials(member.username, member.password)).toBeDefined();
        expect(await app.revocations(member.uuid)).toHaveLength(1);
      });
    }

    test('a sign-in with the configured password does not outlive its correction', async () => {
      const username = `admin-${crypto.randomUUID()}`;
      await app.users.seedAdmin(username, 'first password');
      meanwhile = () => app.users.seedAdmin(username, 'second password');
      const body = { username, password: 'first password' };
      const { access_token } = await bodyOf(await app.call('POST', '/auth/login', { body }));
      expect((await app.call('POST', '/auth/logout', { token: String(access_token) })).status).toBe(401);
    });

    test('a login after the change is not taken for one before it', async () => {
      const { uuid, username } = await app.member('viewer');
      await app.users.resetPassword(uuid, NEW_PASSWORD);
      const body = { username, password: NEW_PASSWORD };
      const { access_token } = await bodyOf(await app.call('POST', '/auth/login', { body }));
      expect((await app.call('POST', '/auth/logout', { token: String(access_token) })).status).toBe(200);
    });
  });
}
