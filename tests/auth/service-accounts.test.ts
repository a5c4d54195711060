import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { mintAccountToken } from '../../src/auth/account-secret.ts';
import { type Grants, NEVER, type Principal } from '../../src/auth/principal.ts';
import { SessionChecks } from '../../src/stream/session-checks.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type AuthApp, bodyOf, createAuthApp, forgeToken, goodClaims } from './support.ts';

const PATH = '/service-accounts';
const UNAUTHENTICATED = { detail: 'Could not validate credentials' };
const RECHECK_MS = 30_000;
const seconds = (ms = 0) => Math.floor((Date.now() + ms) / 1000);

for (const engine of ENGINES) {
  describe(`service accounts on ${engine}`, () => {
    let app: AuthApp;
    let admin: string;
    beforeAll(async () => {
      app = await createAuthApp(engine);
      admin = (await app.member('admin')).token;
    });
    afterAll(() => app.dispose());

    const send = (method: string, path: string, body?: unknown, token: string | undefined = admin) =>
      app.call(method, `${PATH}${path}`, { token, ...(body === undefined ? {} : { body }) });
    const asked = (more: object = {}) => ({
      name: `account-${crypto.randomUUID()}`,
      publish: ['attacker.>'],
      subscribe: ['decky.>'],
      ...more,
    });

    async function create(more: object = {}) {
      const response = await send('POST', '', asked(more));
      expect(response.status).toBe(201);
      const { uuid, name, secret } = await bodyOf(response);
      return { uuid: String(uuid), name: String(name), secret: String(secret) };
    }
    const whoIs = (secret: string) => app.call('GET', '/auth/me', { token: secret });
    const principalOf = (secret: string): Promise<Principal> => app.authenticator.authenticateToken(secret);
    const listed = async (uuid: string) => bodyOf(await send('GET', `/${uuid}`));

    describe('the routes', () => {
      test('create one, show its secret once, and list it without', async () => {
        const expires_at = seconds(60_000);
        const body = asked({ publish: ['attacker.>', 'attacker.>', 'decky.*.state'], expires_at });
        const response = await send('POST', '', body);
        expect(response.status).toBe(201);
        expect(response.headers.get('cache-control')).toBe('no-store');
        const created = await bodyOf(response);
        expect(created).toEqual({
          uuid: expect.any(String),
          name: body.name,
          publish: ['attacker.>', 'decky.*.state'],
          subscribe: ['decky.>'],
          control: false,
          expires_at,
          created_at: expect.any(Number),
          secret: expect.stringMatching(/^dls_[0-9a-f-]{36}_[\w-]{43}$/),
        });
        const { secret, ...rest } = created;
        const item = { ...rest, last_used_at: null, revoked_at: null };
        expect(await listed(String(created.uuid))).toEqual(item);
        const list = await bodyOf(await send('GET', ''));
        expect(list.items).toContainEqual(item);
        expect(JSON.stringify(list)).not.toContain(String(secret).slice(-43));
      });

      test.each([
        ['POST', ''],
        ['GET', ''],
        ['GET', '/:uuid'],
        ['PATCH', '/:uuid'],
        ['POST', '/:uuid/rotate'],
        ['DELETE', '/:uuid'],
      ])('are for administrators: %s %s', async (method, path) => {
        const { uuid, secret } = await create({ publish: ['>'], subscribe: ['>'], control: true });
        const body = method === 'POST' && path === '' ? asked() : method === 'PATCH' ? { publish: [] } : undefined;
        const at = path.replace(':uuid', uuid);
        const viewer = (await app.member('viewer')).token;
        // Not even for itself.
        for (const token of [viewer, secret]) expect((await send(method, at, body, token)).status).toBe(403);
        expect((await app.call(method, `${PATH}${at}`)).status).toBe(401);
        expect((await whoIs(secret)).status).toBe(200);
      });

      test.each([
        [{ name: '' }, 400],
        [{ name: 'x'.repeat(65) }, 422],
        [{ name: 'a\0b' }, 422],
        [{ publish: 'attacker.>' }, 422],
        [{ publish: [7] }, 400],
        [{ publish: ['a..b'] }, 422],
        [{ subscribe: ['>.a'] }, 422],
        [{ subscribe: ['unheard.of'] }, 422],
        [{ publish: ['system.mutator.control'] }, 422],
        [{ publish: Array.from({ length: 51 }, (_, index) => `attacker.p${index}`) }, 422],
        [{ expires_at: 1 }, 422],
        [{ expires_at: 1e13 }, 422],
        [{ expires_at: 'tomorrow' }, 422],
        [{ control: 'yes' }, 422],
      ])('refuse %j by %d, say why, and make nothing', async (more, status) => {
        const uuids = async () => (await app.accounts.list()).map(({ uuid }) => uuid);
        const before = await uuids();
        const response = await send('POST', '', asked(more));
        expect(response.status).toBe(status);
        expect(await bodyOf(response)).toEqual({ detail: expect.stringMatching(/.{10}/) });
        expect(await uuids()).toEqual(before);
      });

      test('say what a pattern lacks that would allow nothing', async () => {
        const detail = async (more: object) => (await bodyOf(await send('POST', '', asked(more)))).detail;
        expect(await detail({ subscribe: ['system.*.control'] })).toContain('set control to true');
        expect(await detail({ publish: ['unheard.>'] })).toContain('no family of topics');
        await create({ publish: ['system.*.control'], control: true });
      });

      test('keep names apart, of two at once too, and free that of one that is revoked', async () => {
        const name = `name-${crypto.randomUUID()}`;
        const answers = await Promise.all([1, 2, 3].map(() => send('POST', '', asked({ name }))));
        expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
        const made = answers.find(({ status }) => status === 201);
        if (made === undefined) throw new Error('none was made');
        expect((await send('DELETE', `/${(await bodyOf(made)).uuid}`)).status).toBe(204);
        await create({ name });
        expect((await app.accounts.list()).filter((account) => account.name === name)).toHaveLength(2);
      });

      test.each([
        ['GET', ''],
        ['PATCH', ''],
        ['POST', '/rotate'],
        ['DELETE', ''],
      ])('know nothing of one that is not there: %s %s', async (method, tail) => {
        const body = method === 'PATCH' ? { control: true } : undefined;
        for (const uuid of [crypto.randomUUID(), 'x', '%00', '%ff']) {
          expect((await send(method, `/${uuid}${tail}`, body)).status).toBe(404);
        }
      });

      test('forget one that was revoked long ago when another is made', async () => {
        const { uuid } = await create();
        await send('DELETE', `/${uuid}`);
        const at = (days: number) => new Date(Date.now() - days * 24 * 3600 * 1000).toISOString();
        const revokedAt = (revoked_at: string) =>
          app.db.updateTable('service_accounts').set({ revoked_at }).where('uuid', '=', uuid).execute();
        await revokedAt(at(29));
        await create();
        expect((await send('GET', `/${uuid}`)).status).toBe(200);
        await revokedAt(at(31));
        await create();
        expect((await send('GET', `/${uuid}`)).status).toBe(404);
      });
    });

    describe('a secret', () => {
      test('says who it is and what it may do', async () => {
        const rights = { publish: ['attacker.>'], subscribe: ['decky.>', 'system.*.control'], control: true };
        const { uuid, name, secret } = await create(rights);
        const role = 'account';
        expect(await bodyOf(await whoIs(secret))).toEqual({ uuid, name, role, ...rights, expires_at: null });
        const used = await until('its use to be noted', async () => (await listed(uuid)).last_used_at);
        expect(Number(used)).toBeGreaterThanOrEqual(seconds(-60_000));
      });

      test('is noted as used once a minute, not at each use', async () => {
        const { uuid, secret } = await create();
        const noted = async () => {
          const columns = app.db.selectFrom('service_accounts').select('last_used_at').where('uuid', '=', uuid);
          return (await columns.executeTakeFirstOrThrow()).last_used_at;
        };
        const set = (last_used_at: string) =>
          app.db.updateTable('service_accounts').set({ last_used_at }).where('uuid', '=', uuid).execute();
        const recent = new Date(Date.now() - 30_000).toISOString();
        await set(recent);
        await whoIs(secret);
        expect(await noted()).toBe(recent);
        await set(new Date(Date.now() - 61_000).toISOString());
        await whoIs(secret);
        await until('its use to be noted', async () => ((await noted()) ?? '') > recent);
      });

      test('is none with a letter changed, of another account, cut, or of an account that never was', async () => {
        const [one, other] = [await create(), await create()];
        const { secret } = one;
        const changed = `${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`;
        const mixed = `${secret.slice(0, 41)}${other.secret.slice(41)}`;
        const stranger = mintAccountToken(crypto.randomUUID()).token;
        const hash = (await app.db.selectFrom('service_accounts').select('secret_hash').execute())[0]?.secret_hash;
        for (const wrong of [changed, mixed, stranger, secret.slice(0, -1), `${secret}A`, 'dls_', `dls_x_${hash}`]) {
          const response = await whoIs(wrong);
          expect(response.status).toBe(401);
          expect(await bodyOf(response)).toEqual(UNAUTHENTICATED);
        }
      });

      test('that is wrong for a right account takes the same way as one for an account that never was', async () => {
        const { secret } = await create();
        const queries: string[] = [];
        const { executeQuery } = app.db;
        app.db.executeQuery = (query: Parameters<typeof executeQuery>[0]) => {
          queries.push('sql' in query ? query.sql : '');
          return executeQuery.call(app.db, query) as never;
        };
        const wayOf = async (token: string) => {
          queries.length = 0;
          expect(await app.accounts.authenticate(token)).toBeUndefined();
          return [...queries];
        };
        try {
          const wrong = await wayOf(`${secret.slice(0, -43)}${'A'.repeat(43)}`);
          expect(wrong).toHaveLength(1);
          expect(await wayOf(mintAccountToken(crypto.randomUUID()).token)).toEqual(wrong);
        } finally {
          app.db.executeQuery = executeQuery;
        }
      });

      test('lets in nobody with a signed token that only looks like its session', async () => {
        const { uuid } = await create();
        for (const jti of ['dls-1-1', 'dls-0-1']) {
          expect((await whoIs(forgeToken({ ...goodClaims(uuid), jti }))).status).toBe(401);
        }
      });

      test('opens no route of users', async () => {
        const { secret } = await create({ publish: ['>'], subscribe: ['>'], control: true });
        const change = { old_password: 'x', new_password: 'twelve letters' };
        const routes: [string, string, unknown?][] = [
          ['GET', '/config'],
          ['POST', '/config/users', { username: 'u', password: 'twelve letters', role: 'admin' }],
          ['POST', '/auth/logout'],
          ['POST', '/auth/change-password', change],
        ];
        for (const [method, path, body] of routes) {
          expect((await app.call(method, path, { token: secret, body })).status).toBe(403);
        }
      });

      test('expires, and what it opened with it', async () => {
        const { uuid, secret } = await create({ expires_at: seconds(60_000) });
        const principal = await principalOf(secret);
        expect(principal.expiresAt).toBeLessThanOrEqual(Date.now() + 60_000);
        const expires_at = new Date(Date.now() - 1).toISOString();
        await app.db.updateTable('service_accounts').set({ expires_at }).where('uuid', '=', uuid).execute();
        expect((await whoIs(secret)).status).toBe(401);
        expect(await app.authenticator.stillValid(principal, 'anyone')).toBe(false);
        expect((await send('POST', `/${uuid}/rotate`)).status).toBe(409);
      });

      test('without an end ends never', async () => {
        expect((await principalOf((await create()).secret)).expiresAt).toBe(NEVER);
      });
    });

    describe('what takes something away', () => {
      type Change = (uuid: string) => Promise<Response>;
      const changes: [string, Change, string, number][] = [
        ['a revocation', (uuid) => send('DELETE', `/${uuid}`), 'account_revoked', 401],
        ['a rotation', (uuid) => send('POST', `/${uuid}/rotate`), 'account_rotated', 401],
        ['a narrowing', (uuid) => send('PATCH', `/${uuid}`, { subscribe: [] }), 'account_changed', 200],
        ['a loss of control', (uuid) => send('PATCH', `/${uuid}`, { control: false }), 'account_changed', 200],
      ];

      test.each(changes)('%s ends its streams, and tells every node', async (_, change, reason, after) => {
        const { uuid, secret } = await create({ control: true });
        const principal = await principalOf(secret);
        const { ticket } = await bodyOf(await app.call('POST', '/auth/sse-ticket', { token: secret }));
        expect(await app.authenticator.stillValid(principal, 'anyone')).toBe(true);
        const wakes = app.wakes();
        expect((await change(uuid)).ok).toBe(true);
        expect((await whoIs(secret)).status).toBe(after);
        expect(await app.authenticator.stillValid(principal, 'anyone')).toBe(false);
        expect(await app.revocations(uuid)).toEqual([
          {
            topic: 'system.session.revoked',
            type: 'session.revoked',
            payload: { user_uuid: uuid, jti: null, reason },
          },
        ]);
        expect(app.wakes()).toBe(wakes + 1);
        const byTicket = new Request(`http://localhost/api/v1/events?ticket=${ticket}`);
        const opened = await app
          .streams()
          .authenticateStream(byTicket)
          .catch((error: unknown) => error);
        expect(opened).toMatchObject({ code: 'unauthenticated' });
      });

      test.each(changes)('%s is found out within the re-check when nobody tells of it', async (_, change) => {
        const { uuid, secret } = await create({ control: true });
        const ended: string[] = [];
        const isStillValid = (principal: Principal) => app.authenticator.stillValid(principal, 'anyone');
        const checks = new SessionChecks<string>({ isStillValid, logger: quiet }, (stream) => ended.push(stream));
        checks.add(await principalOf(secret), 'anyone', checks.revocations, 'stream');
        await change(uuid);
        checks.tick(performance.now() + RECHECK_MS - 1000, 1000);
        expect(ended).toEqual([]);
        checks.tick(performance.now() + RECHECK_MS, 1000);
        await until('the stream to end', () => ended.length === 1);
      });

      test('a rotation with a grace lets the secret before it live so long, and no other', async () => {
        const { uuid, secret: first } = await create();
        const old = await principalOf(first);
        const rotate = async (body?: object) =>
          String((await bodyOf(await send('POST', `/${uuid}/rotate`, body))).secret);
        const second = await rotate({ grace_seconds: 60 });
        expect(await app.authenticator.stillValid(old, 'anyone')).toBe(true);
        expect((await principalOf(first)).expiresAt).toBeLessThanOrEqual(Date.now() + 60_000);
        expect((await principalOf(second)).expiresAt).toBe(NEVER);
        const third = await rotate({ grace_seconds: 60 });
        expect((await whoIs(first)).status).toBe(401);
        expect(await app.authenticator.stillValid(old, 'anyone')).toBe(false);
        for (const secret of [second, third]) expect((await whoIs(secret)).status).toBe(200);

        const graced = await principalOf(second);
        const previous_until = new Date(Date.now() - 1).toISOString();
        await app.db.updateTable('service_accounts').set({ previous_until }).where('uuid', '=', uuid).execute();
        expect((await whoIs(second)).status).toBe(401);
        expect(await app.authenticator.stillValid(graced, 'anyone')).toBe(false);
        expect((await whoIs(third)).status).toBe(200);

        const fourth = await rotate();
        expect((await whoIs(third)).status).toBe(401);
        expect((await whoIs(fourth)).status).toBe(200);
      });

      test.each([{ grace_seconds: -1 }, { grace_seconds: 1.5 }, { grace_seconds: 604_801 }, { grace_seconds: 'x' }])(
        'a rotation with %j is refused, and the secret stays',
        async (body) => {
          const { uuid, secret } = await create();
          expect((await send('POST', `/${uuid}/rotate`, body)).status).toBe(422);
          expect((await whoIs(secret)).status).toBe(200);
        },
      );

      test('of rotations at once each ends the secret of the one before: one of them is left', async () => {
        const { uuid } = await create();
        const answers = await Promise.all([1, 2, 3].map(() => send('POST', `/${uuid}/rotate`)));
        const secrets = await Promise.all(answers.map(async (answer) => String((await bodyOf(answer)).secret)));
        const states = await Promise.all(secrets.map(async (secret) => (await whoIs(secret)).status));
        expect(states.sort()).toEqual([200, 401, 401]);
      });

      test('changes of rights at once do not undo each other', async () => {
        const { uuid } = await create();
        await Promise.all([
          send('PATCH', `/${uuid}`, { publish: ['smtp.>'] }),
          send('PATCH', `/${uuid}`, { subscribe: ['ttp.>'] }),
          send('PATCH', `/${uuid}`, { control: true }),
        ]);
        expect(await listed(uuid)).toMatchObject({ publish: ['smtp.>'], subscribe: ['ttp.>'], control: true });
      });

      test('rights that cannot be used are refused, and change nothing', async () => {
        const { uuid, secret } = await create();
        const principal = await principalOf(secret);
        for (const body of [{ publish: ['a..b'] }, { subscribe: ['unheard.>'] }, { publish: ['system.a.control'] }]) {
          expect((await send('PATCH', `/${uuid}`, body)).status).toBe(422);
        }
        expect(await listed(uuid)).toMatchObject({
          publish: ['attacker.>'],
          subscribe: ['decky.>'],
        } satisfies Partial<Grants>);
        expect(await app.authenticator.stillValid(principal, 'anyone')).toBe(true);
        expect(await app.revocations(uuid)).toEqual([]);
      });

      test('a revocation is for good: nothing brings it back, and again it is the same', async () => {
        const { uuid, secret } = await create();
        for (const _ of [1, 2]) expect((await send('DELETE', `/${uuid}`)).status).toBe(204);
        expect(await app.revocations(uuid)).toHaveLength(1);
        expect((await send('POST', `/${uuid}/rotate`)).status).toBe(409);
        expect((await send('PATCH', `/${uuid}`, { publish: ['>'] })).status).toBe(409);
        expect((await whoIs(secret)).status).toBe(401);
        expect((await listed(uuid)).revoked_at).toBeNumber();
      });
    });

    test('no secret is in any line of the log, nor in the database', async () => {
      const { uuid, secret } = await create();
      const rotated = await send('POST', `/${uuid}/rotate`, { grace_seconds: 60 });
      const secrets = [secret, String((await bodyOf(rotated)).secret)];
      for (const each of [...secrets, `${secret.slice(0, -1)}!`]) {
        await whoIs(each);
        await app.call('POST', '/auth/sse-ticket', { token: each });
      }
      const rows = await Promise.all(
        ['service_accounts' as const, 'outbox' as const, 'users' as const].map((table) =>
          app.db.selectFrom(table).selectAll().execute(),
        ),
      );
      const file = app.databaseUrl.replace(/^sqlite:/, '');
      const bytes =
        engine === 'sqlite' ? [file, `${file}-wal`].map((path) => readFileSync(path, 'latin1')).join('') : '';
      // What is stored in its place is there, so this looks where it should.
      if (engine === 'sqlite') expect(bytes).toContain(uuid);
      const everywhere = [app.lines.join('\n'), JSON.stringify(rows), bytes].join('\n');
      for (const each of secrets) expect(everywhere).not.toContain(each.slice(-43));
    });
  });
}
