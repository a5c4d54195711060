import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { claimThing, fencedBy, installationId, SubstrateClaim } from '../../src/substrate/claim.ts';
import { recordSubstrate } from '../../src/substrate/record.ts';
import { ClaimLost } from '../../src/substrate/substrate.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { openFence } from '../support/fence.ts';

const NOON = Date.parse('2026-11-21T12:00:00.000Z');
const LEASE_MS = 30_000;

for (const engine of ENGINES) {
  describe(`claims of things in the substrate (${engine})`, () => {
    let database: TestDatabase;
    let clock: number;
    let claims: SubstrateClaim[];
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      clock = NOON;
      claims = [];
      await database.db.updateTable('installation').set({ last_fence: 0 }).execute();
    });
    afterEach(async () => {
      for (const claim of claims) await claim.release();
      await database.db.deleteFrom('substrate_claims').execute();
    });
    afterAll(() => database.dispose());

    const now = () => clock;
    const tryTake = async (thing = 't1', waitMs = 0) => {
      const claim = await SubstrateClaim.take(database.db, thing, { leaseMs: LEASE_MS, now, waitMs });
      if (claim !== undefined) claims.push(claim);
      return claim;
    };
    const take = async (thing = 't1') => {
      const claim = await tryTake(thing);
      if (claim === undefined) throw new Error(`${thing} is claimed`);
      return claim;
    };
    const hold = (claim: SubstrateClaim) => database.db.transaction().execute((trx) => claim.holdIn(trx));
    const rows = () => database.db.selectFrom('substrate_claims').selectAll().orderBy('thing').execute();

    test('have tokens that rise, whatever is claimed, in one millisecond too', async () => {
      const tokens: number[] = [];
      for (const thing of ['t1', 't2', 't3']) tokens.push((await take(thing)).token);
      await claims[0]?.release();
      tokens.push((await take('t1')).token);
      expect(tokens).toEqual([NOON, NOON + 1, NOON + 2, NOON + 3]);
    });

    test('have tokens above all that a database knew which has come back from a backup since', async () => {
      const { token } = await take();
      await claims[0]?.release();
      await database.db.updateTable('installation').set({ last_fence: 7 }).execute();
      clock += 1;
      expect((await take()).token).toBeGreaterThan(token);
    });

    test('are one at a time for a thing; who waits has it next', async () => {
      const first = await take();
      expect(await tryTake()).toBeUndefined();
      const waiting = tryTake('t1', 20_000);
      await take('t2');
      await first.release();
      expect((await waiting)?.token).toBeGreaterThan(first.token);
    });

    test('are got by one of those that race', async () => {
      const got = await Promise.all(Array.from({ length: 10 }, () => tryTake()));
      expect(got.filter((claim) => claim !== undefined)).toHaveLength(1);
    });

    test('admit for as long as a change may take, and last from then on', async () => {
      const claim = await take();
      clock += 29_000;
      expect(await claim.admit()).toBe(20_000);
      clock += 29_000;
      expect(await tryTake()).toBeUndefined();
      await hold(claim);
    });

    test('that ran out and that nobody has taken since go on', async () => {
      const claim = await take();
      clock += 10 * LEASE_MS;
      expect(claim.isHeld).toBe(false);
      expect(await claim.admit()).toBe(20_000);
      expect(claim.isHeld).toBe(true);
      expect(await tryTake()).toBeUndefined();
    });

    test.each(['works still', 'has finished and given it back'])('admit nothing when a successor %s', async (what) => {
      const sleeper = await take();
      clock += LEASE_MS + 1;
      const successor = await take();
      if (what !== 'works still') await successor.release();
      const before = await rows();
      await expect(sleeper.admit()).rejects.toThrow(ClaimLost);
      await expect(hold(sleeper)).rejects.toThrow(ClaimLost);
      expect(sleeper.isHeld).toBe(false);
      await sleeper.release();
      expect(await rows()).toEqual(before);
    });

    test('admit nothing to one who fell asleep over the answer', async () => {
      const claim = await take();
      const times = [NOON, NOON + 20_000];
      const slow = await SubstrateClaim.take(database.db, 't2', {
        leaseMs: LEASE_MS,
        now: () => times.shift() ?? NOON + 20_000,
      });
      if (slow === undefined) throw new Error('t2 is claimed');
      claims.push(slow);
      times.unshift(NOON);
      await expect(slow.admit()).rejects.toThrow(ClaimLost);
      expect(await claim.admit()).toBe(20_000);
    });

    test('say in words that the database cannot be asked, and leave it to the caller to try again', async () => {
      const claim = await take();
      await database.db.schema.alterTable('substrate_claims').renameTo('away').execute();
      const asked = claim.admit();
      await expect(asked).rejects.toThrow(/^whether it may be changed cannot be asked: /);
      await expect(asked).rejects.not.toThrow(ClaimLost);
      await database.db.schema.alterTable('away').renameTo('substrate_claims').execute();
      expect(await claim.admit()).toBe(20_000);
    });

    test('hold others off until a transaction that rests on them has ended', async () => {
      const claim = await take();
      clock += LEASE_MS + 1;
      let isTaken = false;
      let taking: Promise<unknown> | undefined;
      await database.db.transaction().execute(async (trx) => {
        await claim.holdIn(trx);
        taking = tryTake().then(() => {
          isTaken = true;
        });
        // Time enough for one that does not wait.
        for (let round = 0; round < 20; round += 1) await trx.selectFrom('installation').select('id').execute();
        expect(isTaken).toBe(false);
      });
      await taking;
      expect(isTaken).toBe(true);
    });

    test('of the dead are forgotten', async () => {
      await take('dead');
      clock += LEASE_MS + 3_600_001;
      await take('t1');
      expect((await rows()).map(({ thing }) => thing)).toEqual(['t1']);
    });

    test('are free where nothing runs: nobody fights for a record', async () => {
      const holds = await Promise.all([1, 2].map(() => claimThing(recordSubstrate, database.db, 't1', { now })));
      expect(holds).toEqual([expect.anything(), expect.anything()]);
      expect(await rows()).toEqual([]);
      const docker = { ...recordSubstrate, name: 'docker' as const };
      const hold = await claimThing(docker, database.db, 't1', { now });
      expect(await claimThing(docker, database.db, 't1', { now })).toBeUndefined();
      await hold?.release();
    });

    test('can depend on something else', async () => {
      let isStill = true;
      const fence = fencedBy(openFence(5), async () => isStill);
      expect([fence.token, await fence.admit()]).toEqual([5, 60_000]);
      isStill = false;
      await expect(fence.admit()).rejects.toThrow(ClaimLost);
    });

    test('an installation has one name, and another database another', async () => {
      const other = await createTestDatabase(engine);
      const id = await installationId(database.db);
      expect(await installationId(database.db)).toBe(id);
      expect(await installationId(other.db)).not.toBe(id);
      await other.dispose();
    });
  });
}
