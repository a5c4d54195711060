import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { AppError } from '../../src/errors.ts';
import { ENGINES } from '../support/database.ts';
import { type AuthApp, claimsOf, createAuthApp, forgeToken, goodClaims, SECRET, TTL_SECONDS } from './support.ts';

for (const engine of ENGINES) {
  describe(engine, () => {
    let app: AuthApp;
    let uuid: string;
    beforeAll(async () => {
      app = await createAuthApp(engine);
      uuid = (await app.member('viewer')).uuid;
    });
    afterAll(() => app.dispose());

    const authenticate = (header: string | undefined) => app.authenticator.authenticateHeader(header);
    const accepted = async (token: string) => (await authenticate(`Bearer ${token}`)).userUuid;
    async function refused(header: string | undefined): Promise<void> {
      const error = await authenticate(header).then(
        () => new Error('it was let in'),
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(AppError);
      expect(error).toMatchObject({ code: 'unauthenticated', message: 'Could not validate credentials' });
    }

    test('issues exactly the claims of the contract', async () => {
      const claims = claimsOf(await app.tokens.issueAccess(uuid));
      const { iat, exp, jti, ...rest } = claims;
      expect(rest).toEqual({ uuid, iss: 'decnet', aud: 'decnet-dashboard', typ: 'access' });
      expect(jti).toMatch(/^[0-9a-f]{32}$/);
      expect(Number(iat)).toBeCloseTo(Date.now() / 1000, -1);
      expect(Math.abs(Number(exp) - Number(iat) - TTL_SECONDS)).toBeLessThanOrEqual(1);
    });

    test('a token made by hand with the right secret and claims is accepted: the attacks below differ in one thing', async () => {
      expect(await accepted(forgeToken(goodClaims(uuid)))).toBe(uuid);
    });

    const attacks: Record<string, () => string> = {
      'another secret': () => forgeToken(goodClaims(uuid), { secret: `${SECRET}x` }),
      'algorithm none with a signature': () => forgeToken(goodClaims(uuid), { header: { alg: 'none', typ: 'JWT' } }),
      'algorithm none without a signature': () =>
        forgeToken(goodClaims(uuid), { header: { alg: 'none', typ: 'JWT' } }).replace(/[^.]*$/, ''),
      'another HMAC algorithm with the right secret': () =>
        forgeToken(goodClaims(uuid), { header: { alg: 'HS512', typ: 'JWT' }, digest: 'sha512' }),
      'claims exchanged under a good signature': () => {
        const [header, , signature] = forgeToken(goodClaims(uuid)).split('.');
        const [, claims] = forgeToken({ ...goodClaims(uuid), extra: 1 }).split('.');
        return `${header}.${claims}.${signature}`;
      },
      'another issuer': () => forgeToken({ ...goodClaims(uuid), iss: 'elsewhere' }),
      'another audience': () => forgeToken({ ...goodClaims(uuid), aud: 'decnet-agent' }),
      'another use': () => forgeToken({ ...goodClaims(uuid), typ: 'stream' }),
      expired: () => forgeToken({ ...goodClaims(uuid), exp: Math.floor(Date.now() / 1000) - 1 }),
      'an unknown user': () => forgeToken({ ...goodClaims(uuid), uuid: crypto.randomUUID() }),
      'an empty jti': () => forgeToken({ ...goodClaims(uuid), jti: '' }),
      'a jti that is no string': () => forgeToken({ ...goodClaims(uuid), jti: 7 }),
      'no token at all': () => '',
      'no token by form': () => 'a.b',
    };
    for (const claim of ['exp', 'iat', 'iss', 'aud', 'uuid', 'typ', 'jti']) {
      attacks[`no ${claim}`] = () => forgeToken({ ...goodClaims(uuid), [claim]: undefined });
    }
    for (const [name, token] of Object.entries(attacks)) {
      test(`refuses a token with ${name}`, () => refused(`Bearer ${token()}`));
    }

    test('takes the scheme exactly as written', async () => {
      const token = forgeToken(goodClaims(uuid));
      for (const header of [
        undefined,
        '',
        token,
        `bearer ${token}`,
        `BEARER ${token}`,
        `Bearer  ${token}`,
        `Basic ${token}`,
      ]) {
        await refused(header);
      }
    });

    test('a stream token opens nothing', async () => {
      const principal = await app.principal(await app.tokens.issueAccess(uuid));
      await refused(`Bearer ${await app.tokens.issueStream(principal)}`);
    });

    test('refuses a denylisted session and no other of the same user', async () => {
      const [ended, other] = [await app.tokens.issueAccess(uuid), await app.tokens.issueAccess(uuid)];
      await app.users.endSession(await app.principal(ended));
      await refused(`Bearer ${ended}`);
      expect(await accepted(other)).toBe(uuid);
    });

    test('compares tokens_valid_from by whole seconds', async () => {
      const { uuid: own } = await app.member('viewer');
      const claims = goodClaims(own);
      const iat = Number(claims.iat);
      const validFrom = (ms: number) =>
        app.db
          .updateTable('users')
          .set({ tokens_valid_from: new Date(ms).toISOString() })
          .where('uuid', '=', own)
          .execute();
      await validFrom(iat * 1000 + 999);
      expect(await accepted(forgeToken(claims))).toBe(own);
      await validFrom((iat + 1) * 1000);
      await refused(`Bearer ${forgeToken(claims)}`);
    });

    test('takes the role from the database, not from the token', async () => {
      const claims = { ...goodClaims(uuid), role: 'admin' };
      expect((await authenticate(`Bearer ${forgeToken(claims)}`)).role).toBe('viewer');
    });
  });
}
