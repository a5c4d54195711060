import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { SESSION_REVOKED_TOPIC } from '../../src/auth/session-revoked.ts';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, createAuthApp } from './support.ts';

for (const engine of ENGINES) {
  describe(engine, () => {
    let app: AuthApp;
    beforeAll(async () => {
      app = await createAuthApp(engine);
    });
    afterAll(() => app.dispose());

    describe('the configured admin', () => {
      const name = () => `admin-${crypto.randomUUID()}`;

      test('is created once, however many nodes start at once', async () => {
        const username = name();
        await Promise.all(Array.from({ length: 5 }, () => app.users.seedAdmin(username, 'first password')));
        const found = await app.users.findByCredentials(username, 'first password');
        expect(found).toMatchObject({ role: 'admin', must_change_password: true });
        expect((await app.users.list()).filter((user) => user.username === username)).toHaveLength(1);
      });

      test('follows the configuration until the password has been chosen', async () => {
        const username = name();
        await app.users.seedAdmin(username, 'first password');
        await app.users.seedAdmin(username, 'second password');
        expect(await app.users.findByCredentials(username, 'first password')).toBeUndefined();
        const admin = await app.users.findByCredentials(username, 'second password');
        const principal = await app.principal(await app.tokens.issueAccess(admin?.uuid ?? ''));
        await app.users.changePassword(principal, 'second password', 'a password of my own');
        await app.users.seedAdmin(username, 'third password');
        expect(await app.users.findByCredentials(username, 'third password')).toBeUndefined();
        expect(await app.users.findByCredentials(username, 'a password of my own')).toBeDefined();
      });

      test('cannot have a password too long to log in with', async () => {
        await expect(app.users.seedAdmin(name(), 'x'.repeat(73))).rejects.toThrow('at most 72 bytes');
      });
    });

    describe('each end of sessions commits an event that tells the other nodes', () => {
      test('logout names the session', async () => {
        const { uuid, token } = await app.member('viewer');
        const principal = await app.principal(token);
        const wakes = app.wakes();
        await app.users.endSession(principal);
        expect(app.wakes()).toBe(wakes + 1);
        expect(await app.revocations(uuid)).toEqual([
          {
            topic: 'system.session.revoked',
            type: 'session.revoked',
            payload: { user_uuid: uuid, jti: principal.jti, reason: 'logout' },
          },
        ]);
        expect(SESSION_REVOKED_TOPIC).toBe('system.session.revoked');
      });

      test('every other change ends all sessions of the user', async () => {
        const { uuid, token, password } = await app.member('viewer');
        const wakes = app.wakes();
        await app.users.changePassword(await app.principal(token), password, 'a new password');
        await app.users.setRole(uuid, 'admin');
        await app.users.resetPassword(uuid, 'another password');
        await app.users.delete(uuid);
        const payloads = (await app.revocations(uuid)).map(({ payload }) => payload);
        const all = { user_uuid: uuid, jti: null };
        expect(payloads).toEqual([
          { ...all, reason: 'password_changed' },
          { ...all, reason: 'role_changed' },
          { ...all, reason: 'password_reset' },
          { ...all, reason: 'user_deleted' },
        ]);
        expect(app.wakes()).toBe(wakes + 4);
      });

      test('a change that fails leaves neither event nor change', async () => {
        const { uuid, token } = await app.member('viewer');
        const wakes = app.wakes();
        const principal = await app.principal(token);
        await expect(app.users.changePassword(principal, 'wrong', 'a new password')).rejects.toThrow('Incorrect');
        const nobody = crypto.randomUUID();
        for (const change of [
          () => app.users.delete(nobody),
          () => app.users.setRole(nobody, 'admin'),
          () => app.users.resetPassword(nobody, 'a new password'),
        ]) {
          expect(await change().catch((error: unknown) => error)).toMatchObject({ code: 'not_found' });
        }
        expect([...(await app.revocations(uuid)), ...(await app.revocations(nobody))]).toEqual([]);
        expect(app.wakes()).toBe(wakes);
      });

      test('an outbox that cannot be written undoes the change', async () => {
        const broken = await createAuthApp(engine);
        const { uuid, token } = await broken.member('viewer');
        const principal = await broken.principal(token);
        await broken.db.schema.dropTable('outbox').execute();
        expect(await broken.users.endSession(principal).catch(() => 'failed')).toBe('failed');
        expect(await broken.users.delete(uuid).catch(() => 'failed')).toBe('failed');
        expect(await broken.authenticator.stillValid(principal, 'viewer')).toBe(true);
        expect(broken.wakes()).toBe(0);
        await broken.dispose();
      });
    });

    test('ending a session forgets the denylisted ones that have expired', async () => {
      const { uuid, token } = await app.member('viewer');
      const session = { userUuid: uuid, jti: 'expired', issuedAt: 0, expiresAt: Date.now() - 1000 };
      await app.users.endSession(session);
      const current = await app.principal(token);
      await app.users.endSession(current);
      const rows = await app.db.selectFrom('revoked_tokens').select('jti').where('user_uuid', '=', uuid).execute();
      expect(rows.map(({ jti }) => jti)).toEqual([current.jti]);
    });

    describe('an open stream may go on', () => {
      test('while nothing changed, and only for a role that passes its gate', async () => {
        const principal = await app.principal((await app.member('viewer')).token);
        expect(await app.authenticator.stillValid(principal, 'viewer')).toBe(true);
        expect(await app.authenticator.stillValid(principal, 'admin')).toBe(false);
      });

      const ends: Record<string, (uuid: string, token: string) => Promise<unknown>> = {
        'the user is deleted': (uuid) => app.users.delete(uuid),
        'the session is ended': async (_, token) => app.users.endSession(await app.principal(token)),
        'the role is lost': (uuid) => app.users.setRole(uuid, 'viewer'),
        'the password is reset': (uuid) => app.users.resetPassword(uuid, 'another password'),
      };
      for (const [name, end] of Object.entries(ends)) {
        test(`not once ${name}`, async () => {
          const { uuid, token } = await app.member('admin');
          const principal = await app.principal(token);
          expect(await app.authenticator.stillValid(principal, 'admin')).toBe(true);
          await end(uuid, token);
          expect(await app.authenticator.stillValid(principal, 'admin')).toBe(false);
        });
      }

      test('not with another role than it began with, even where no time tells that the role is new', async () => {
        const { uuid, token } = await app.member('admin');
        const principal = await app.principal(token);
        await app.db.updateTable('users').set({ role: 'viewer' }).where('uuid', '=', uuid).execute();
        expect(await app.authenticator.stillValid(principal, 'anyone')).toBe(false);
      });

      test('not once the token has expired', async () => {
        const principal = await app.principal((await app.member('viewer')).token);
        expect(await app.authenticator.stillValid({ ...principal, expiresAt: Date.now() }, 'viewer')).toBe(false);
      });

      test('and a database that cannot be asked is no answer', async () => {
        const down = await createAuthApp(engine);
        const principal = await down.principal((await down.member('viewer')).token);
        await down.db.destroy();
        const answer = await down.authenticator.stillValid(principal, 'viewer').catch(() => 'no answer');
        expect(answer).toBe('no answer');
        await down.dispose();
      });
    });
  });
}
