import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { SessionMemo, type SessionMemoOptions } from '../../src/auth/session-memo.ts';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, createAuthApp } from './support.ts';

for (const engine of ENGINES) {
  describe(`what is remembered of sessions (${engine})`, () => {
    let app: AuthApp;
    beforeAll(async () => {
      app = await createAuthApp(engine);
    });
    afterAll(() => app.dispose());

    let asked: number;
    let isCurrent: boolean;
    /** Runs once, after the next answer of the database and before anybody has it. */
    let meanwhile: (() => Promise<unknown>) | undefined;
    beforeEach(() => {
      asked = 0;
      isCurrent = true;
      meanwhile = undefined;
    });
    const counted = async <T>(answer: Promise<T>): Promise<T> => {
      asked += 1;
      const outcome = await answer;
      const happens = meanwhile;
      meanwhile = undefined;
      await happens?.();
      return outcome;
    };
    const createMemo = (options: Partial<SessionMemoOptions> = {}) =>
      new SessionMemo(
        { authenticateHeader: (header) => counted(app.authenticator.authenticateHeader(header)) },
        { isCurrent: () => isCurrent, ...options },
      );
    /** With a token that is a minute old: what changes this second must not spare it. */
    const member = async (options?: { mustChange?: boolean }) => {
      const { uuid } = await app.member('admin', options);
      return { uuid, token: app.olderToken(uuid) };
    };
    const who = async (memo: SessionMemo, token: string) =>
      memo.authenticateHeader(`Bearer ${token}`).then(
        ({ userUuid }) => userUuid,
        (error: unknown) => error,
      );
    const REFUSED = { code: 'unauthenticated' };

    test('is asked for once', async () => {
      const { uuid, token } = await member();
      const memo = createMemo();
      for (let turn = 0; turn < 3; turn += 1) expect(await who(memo, token)).toBe(uuid);
      expect(asked).toBe(1);
    });

    test('ends with the revocation, for this user alone', async () => {
      const [leaving, staying] = [await member(), await member()];
      const memo = createMemo();
      await who(memo, leaving.token);
      await who(memo, staying.token);
      await app.users.setRole(leaving.uuid, 'viewer');
      memo.forget(leaving.uuid);
      expect(await who(memo, leaving.token)).toMatchObject(REFUSED);
      asked = 0;
      await who(memo, staying.token);
      expect(asked).toBe(0);
      memo.forget();
      await who(memo, staying.token);
      expect(asked).toBe(1);
    });

    test('is nothing that a revocation has crossed', async () => {
      const { uuid, token } = await member();
      const memo = createMemo();
      meanwhile = async () => {
        await app.users.setRole(uuid, 'viewer');
        memo.forget(uuid);
      };
      expect(await who(memo, token)).toBe(uuid);
      expect(await who(memo, token)).toMatchObject(REFUSED);
    });

    test('counts for nothing where no revocation would be heard of', async () => {
      const { uuid, token } = await member();
      const memo = createMemo();
      expect(await who(memo, token)).toBe(uuid);
      isCurrent = false;
      expect(await who(memo, token)).toBe(uuid);
      expect(asked).toBe(2);
      await app.users.setRole(uuid, 'viewer');
      expect(await who(memo, token)).toMatchObject(REFUSED);
    });

    test('is not learned where no revocation would be heard of', async () => {
      const { uuid, token } = await member();
      const memo = createMemo();
      isCurrent = false;
      expect(await who(memo, token)).toBe(uuid);
      isCurrent = true;
      await app.users.setRole(uuid, 'viewer');
      expect(await who(memo, token)).toMatchObject(REFUSED);
    });

    test('is worth nothing once it is old, and nothing after the end of the token', async () => {
      const { uuid, token } = await member();
      const memo = createMemo({ maxAgeMs: 0 });
      for (let turn = 0; turn < 2; turn += 1) expect(await who(memo, token)).toBe(uuid);
      expect(asked).toBe(2);
      const principal = await app.principal(token);
      const ended = new SessionMemo(
        { authenticateHeader: () => counted(Promise.resolve({ ...principal, expiresAt: Date.now() })) },
        { isCurrent: () => true },
      );
      asked = 0;
      for (let turn = 0; turn < 2; turn += 1) await who(ended, token);
      expect(asked).toBe(2);
    });

    test('is bounded in number and in bytes: the oldest goes', async () => {
      const members = [await member(), await member(), await member()];
      for (const options of [{ most: 2 }, { mostBytes: 3500 }]) {
        const memo = createMemo(options);
        for (const { token } of members) await who(memo, token);
        asked = 0;
        for (const { token } of members.slice(1)) await who(memo, token);
        expect(asked).toBe(0);
        await who(memo, members[0]?.token ?? '');
        expect(asked).toBe(1);
      }
      const none = createMemo({ mostBytes: 100 });
      asked = 0;
      for (let turn = 0; turn < 2; turn += 1) await who(none, members[0]?.token ?? '');
      expect(asked).toBe(2);
    });

    test('is never a refusal', async () => {
      const memo = createMemo();
      const { uuid, token } = await member({ mustChange: true });
      expect(await who(memo, token)).toMatchObject({ code: 'password_change_required' });
      await app.db.updateTable('users').set({ must_change_password: 0 }).where('uuid', '=', uuid).execute();
      expect(await who(memo, token)).toBe(uuid);
    });
  });
}
