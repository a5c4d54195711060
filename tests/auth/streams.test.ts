import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, claimsOf, createAuthApp, forgeToken, goodClaims, TTL_SECONDS } from './support.ts';

const STREAM = 'https://soc.example.net/api/v1/identities/events';

for (const engine of ENGINES) {
  describe(engine, () => {
    let app: AuthApp;
    let member: Awaited<ReturnType<AuthApp['member']>>;
    beforeAll(async () => {
      app = await createAuthApp(engine);
    });
    beforeEach(async () => {
      member = await app.member('viewer');
    });
    afterAll(() => app.dispose());

    const mint = async (token = member.token) => app.tickets.mint(await app.principal(token));
    const open = (query: Record<string, string>, headers: Record<string, string> = {}, url = STREAM) =>
      app.streams().authenticateStream(new Request(`${url}?${new URLSearchParams(query)}`, { headers }));
    /** What the answer was: the user who was let in, or the code of the error. */
    const outcome = (answer: ReturnType<typeof open>) =>
      answer.then(
        ({ principal }) => principal.userUuid,
        (error: { code: string }) => error.code,
      );
    /** Redeems a ticket; the browser then sends this as its `Cookie`. */
    async function cookieFrom(ticket: string): Promise<string> {
      const { setCookie = '' } = await open({ ticket });
      return setCookie.split(';')[0] ?? '';
    }

    test('a ticket lets its user in once, with the session that minted it', async () => {
      const ticket = await mint();
      const { principal } = await open({ ticket });
      expect(principal).toEqual(await app.principal(member.token));
      expect(await outcome(open({ ticket }))).toBe('unauthenticated');
    });

    test('of twenty redemptions at once one succeeds', async () => {
      const ticket = await mint();
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => outcome(open({ ticket }))));
      expect(outcomes.filter((each) => each === member.uuid)).toHaveLength(1);
      expect(outcomes.filter((each) => each === 'unauthenticated')).toHaveLength(19);
    });

    test('a ticket lives sixty seconds, and is stored under its hash alone', async () => {
      const ticket = await mint();
      const hash = new Bun.CryptoHasher('sha256').update(ticket).digest('hex');
      const ttl = await app.redis.pttl(`{decnet}:ticket:${hash}`);
      expect(ttl).toBeGreaterThan(50_000);
      expect(ttl).toBeLessThanOrEqual(60_000);
      const stored = [...(await app.redis.keys('*')), (await app.redis.get(`{decnet}:ticket:${hash}`)) ?? ''].join(' ');
      expect(stored).toContain(hash);
      expect(stored).not.toContain(ticket);
      await app.redis.del(`{decnet}:ticket:${hash}`);
      expect(await outcome(open({ ticket }))).toBe('unauthenticated');
    });

    test('a spent ticket is remembered for as long as its session lasts', async () => {
      const ticket = await mint();
      await open({ ticket });
      const hash = new Bun.CryptoHasher('sha256').update(ticket).digest('hex');
      const { expiresAt } = await app.principal(member.token);
      expect(await app.redis.pexpiretime(`{decnet}:spent:${hash}`)).toBe(expiresAt);
    });

    test('the cookie of a redeemed ticket is for streams of this session only', async () => {
      const { setCookie = '' } = await open({ ticket: await mint() });
      const [pair = '', ...attributes] = setCookie.split('; ');
      const [name, value = ''] = pair.split('=');
      expect(name).toBe('decnet_stream');
      expect(attributes).toContainAllValues([
        'HttpOnly',
        'SameSite=Strict',
        'Path=/api/v1',
        'Secure',
        attributes[1] ?? '',
      ]);
      const maxAge = Number(/Max-Age=(\d+)/.exec(setCookie)?.[1]);
      expect(maxAge).toBeGreaterThan(TTL_SECONDS - 30);
      expect(maxAge).toBeLessThanOrEqual(TTL_SECONDS);
      const { jti, exp } = claimsOf(member.token);
      expect(claimsOf(value)).toMatchObject({ typ: 'stream', uuid: member.uuid, jti, exp });
      expect(await outcome(open({ token: value }))).toBe('unauthenticated');
      expect(await outcome(open({}, { authorization: `Bearer ${value}` }))).toBe('unauthenticated');
      expect(await outcome(open({}, { cookie: pair }))).toBe('unauthenticated');
    });

    test('the cookie is Secure exactly when the browser came by https', async () => {
      const plain = 'http://soc.example.net/api/v1/identities/events';
      const secure = async (url: string, headers: Record<string, string> = {}) =>
        (await open({ ticket: await mint() }, headers, url)).setCookie?.includes('Secure');
      expect(await secure(plain)).toBe(false);
      expect(await secure(plain, { 'x-forwarded-proto': 'https, http' })).toBe(true);
      expect(await secure(plain, { 'x-forwarded-proto': 'http' })).toBe(false);
      expect(await secure(STREAM)).toBe(true);
    });

    describe('a spent ticket', () => {
      test('lets the browser that redeemed it in, again and again', async () => {
        const ticket = await mint();
        const cookie = `theme=dark; ${await cookieFrom(ticket)}; other=1`;
        for (let connection = 0; connection < 3; connection += 1) {
          const { principal, setCookie } = await open({ ticket }, { cookie });
          expect(principal).toEqual(await app.principal(member.token));
          expect(setCookie).toBeUndefined();
        }
      });

      test('lets in on a later ticket`s cookie of the same session', async () => {
        const ticket = await mint();
        await open({ ticket });
        expect(await outcome(open({ ticket }, { cookie: await cookieFrom(await mint()) }))).toBe(member.uuid);
      });

      test('opens nothing for any other cookie', async () => {
        const ticket = await mint();
        await open({ ticket });
        const { jti } = claimsOf(member.token);
        const stream = { ...goodClaims(member.uuid), jti, typ: 'stream' };
        const foreign = await app.member('viewer');
        const cookies = [
          '',
          'decnet_stream=',
          'decnet_stream=%zz',
          await cookieFrom(await mint(foreign.token)),
          await cookieFrom(await mint(await app.tokens.issueAccess(member.uuid))),
          `decnet_stream=${member.token}`,
          `decnet_stream=${forgeToken(stream, { secret: 'x'.repeat(40) })}`,
          `decnet_stream=${forgeToken({ ...stream, uuid: foreign.uuid })}`,
          `decnet_stream=${forgeToken({ ...stream, exp: 1 })}`,
          `other=${forgeToken(stream)}`,
        ];
        for (const cookie of cookies) {
          expect([cookie, await outcome(open({ ticket }, { cookie }))]).toEqual([cookie, 'unauthenticated']);
        }
        expect(await outcome(open({ ticket }, { cookie: `decnet_stream=${forgeToken(stream)}` }))).toBe(member.uuid);
      });

      test('ends with its session', async () => {
        const ticket = await mint();
        const cookie = await cookieFrom(ticket);
        await app.users.endSession(await app.principal(member.token));
        expect(await outcome(open({ ticket }, { cookie }))).toBe('unauthenticated');
      });
    });

    describe('a ticket is checked against the database when it is redeemed', () => {
      const changes: Record<string, [change: (uuid: string) => Promise<unknown>, code: string]> = {
        'after logout': [async () => app.users.endSession(await app.principal(member.token)), 'unauthenticated'],
        'after the user was deleted': [(uuid) => app.users.delete(uuid), 'unauthenticated'],
        'after the role changed': [
          (uuid) =>
            app.db
              .updateTable('users')
              .set({ tokens_valid_from: new Date(Date.now() + 1000).toISOString() })
              .where('uuid', '=', uuid)
              .execute(),
          'unauthenticated',
        ],
        'while the password has to be changed': [
          (uuid) => app.db.updateTable('users').set({ must_change_password: 1 }).where('uuid', '=', uuid).execute(),
          'password_change_required',
        ],
      };
      for (const [name, [change, code]] of Object.entries(changes)) {
        test(name, async () => {
          const ticket = await mint();
          await change(member.uuid);
          expect(await outcome(open({ ticket }))).toBe(code);
        });
      }
    });

    test('a header wins over a ticket, which stays usable', async () => {
      const ticket = await mint();
      const other = await app.member('admin');
      expect(await outcome(open({ ticket }, { authorization: `Bearer ${other.token}` }))).toBe(other.uuid);
      expect(await outcome(open({ ticket }, { authorization: 'Bearer wrong' }))).toBe('unauthenticated');
      expect(await outcome(open({ ticket }, { authorization: `bearer ${other.token}` }))).toBe(member.uuid);
    });

    test('?token= takes an access token, after header and ticket, unless it is switched off', async () => {
      const { token } = member;
      const ticket = await mint((await app.member('viewer')).token);
      expect(await outcome(open({ token }))).toBe(member.uuid);
      expect(await outcome(open({ token, ticket }))).not.toBe(member.uuid);
      expect(await outcome(open({ token: 'wrong' }))).toBe('unauthenticated');
      expect(await outcome(open({ token, ticket: '' }))).toBe('unauthenticated');
      const off = app.streams(false).authenticateStream(new Request(`${STREAM}?token=${token}`));
      expect(await outcome(off)).toBe('unauthenticated');
    });

    test('without a usable credential nobody gets in', async () => {
      const queries = [{}, { ticket: '' }, { ticket: 'x' }, { ticket: 'x'.repeat(43) }, { ticket: '*'.repeat(43) }];
      for (const query of queries) expect(await outcome(open(query))).toBe('unauthenticated');
    });

    test('a Redis that is down is no reason to call a ticket bad, and no header needs it', async () => {
      const down = await createAuthApp(engine);
      const { token, uuid } = await down.member('viewer');
      const principal = await down.principal(token);
      const ticket = await down.tickets.mint(principal);
      await down.redisServer.down();
      const streams = down.streams();
      const by = (query: string, headers = {}) =>
        outcome(streams.authenticateStream(new Request(`${STREAM}?${query}`, { headers })));
      expect(await by(`ticket=${ticket}`)).toBe('unavailable');
      expect(await by(`ticket=${ticket}`, { authorization: `Bearer ${token}` })).toBe(uuid);
      expect(await by(`token=${token}`)).toBe(uuid);
      expect(await down.tickets.mint(principal).catch((error: { code: string }) => error.code)).toBe('unavailable');
      expect(down.lines.join()).not.toContain(ticket);
      await down.dispose();
    });
  });
}
