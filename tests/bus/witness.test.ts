import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { type EventLog, FencedOffError } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { LogWitness } from '../../src/bus/witness.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, idsOf, publication, publications, stored } from './support.ts';

const TERM = 1_000;

for (const engine of ENGINES) {
  describe(`the witness on ${engine}`, () => {
    let bus: Bus;
    let database: TestDatabase;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      bus = await createBus();
      await database.db.deleteFrom('log_witness').execute();
    });
    afterEach(() => bus.stop());
    afterAll(() => database.dispose());

    const createWitness = (log: EventLog = bus.log) => new LogWitness(database.db, log, quiet);
    const epoch = async () => (await bus.log.position('log')).epoch;
    const known = () =>
      database.db.selectFrom('log_witness').select(['epoch', 'log_offset', 'proof']).orderBy('seq').execute();

    /** The log as it was at the backup, with so many other events after it. */
    async function comeBackOlder(others = 0): Promise<void> {
      await bus.server.down();
      await bus.server.restore();
      await bus.server.up();
      await until('redis', () => bus.redis.ping().catch(() => undefined));
      await bus.log.publish(publications(others));
    }

    /** Compares as a node does that has just been started. */
    async function isRotatedNow(term = TERM): Promise<boolean> {
      const before = await epoch();
      await createWitness().testify(term);
      return (await epoch()) !== before;
    }

    test('of the same log changes nothing, and moves on with it', async () => {
      expect(await isRotatedNow()).toBe(false);
      for (const offset of [3, 6]) {
        await bus.log.publish(publications(3));
        expect(await isRotatedNow()).toBe(false);
        expect(await isRotatedNow()).toBe(false);
        const { epoch, proof } = await bus.log.position('log');
        expect(await known()).toEqual([{ epoch, log_offset: offset, proof }]);
      }
    });

    test.each([0, 1, 2, 5])('finds a log that lost two events and got %i others: all cursors end', async (others) => {
      await bus.log.publish(publications(3));
      await bus.server.backup();
      await bus.log.publish(publications(2));
      expect(await isRotatedNow()).toBe(false);
      await comeBackOlder(others);
      expect(await isRotatedNow()).toBe(true);
      expect(await isRotatedNow()).toBe(false);
      // What it still holds is read on under the new epoch, and its numbers go on.
      expect(await stored(bus.redis, 'identity')).toHaveLength(3 + others);
      expect((await bus.log.publish([publication()]))[0]?.offsets).toEqual({ log: 4 + others, identity: 4 + others });
      expect(await isRotatedNow()).toBe(false);
    });

    test('control: a log that only lost what nobody testified to is not noticed', async () => {
      await bus.log.publish(publications(3));
      expect(await isRotatedNow()).toBe(false);
      await bus.server.backup();
      await bus.log.publish(publications(2));
      await comeBackOlder();
      expect(await isRotatedNow()).toBe(false);
    });

    test('finds a backup of an earlier epoch, though no place in it is known', async () => {
      await bus.log.publish(publications(3));
      expect(await isRotatedNow()).toBe(false);
      await bus.log.publish(publications(3));
      await bus.server.backup(); // Newer than its witness.
      await bus.redis.flushall();
      await bus.log.publish(publications(1));
      expect(await isRotatedNow()).toBe(false);
      const [first, second] = await known();
      await comeBackOlder();
      expect(await epoch()).toBe(first?.epoch ?? '');
      expect(await isRotatedNow()).toBe(true);
      expect([first?.epoch, second?.epoch]).not.toContain(await epoch());
      // The same backup again: what it was rotated to is unknown to it.
      await comeBackOlder();
      expect(await isRotatedNow()).toBe(true);
      expect(await isRotatedNow()).toBe(false);
    });

    test('a flush mints an epoch, and needs no second one', async () => {
      await bus.log.publish(publications(3));
      expect(await isRotatedNow()).toBe(false);
      await bus.redis.flushall();
      expect(await isRotatedNow()).toBe(false);
      expect((await known()).map(({ log_offset }) => log_offset)).toEqual([3, 0]);
    });

    test('whose place was trimmed in the meantime is not lost: what Redis was told is still there', async () => {
      await bus.log.publish(publications(3));
      expect(await isRotatedNow()).toBe(false);
      await bus.log.publish(publications(6));
      await bus.redis.xtrim(keys.stream('log'), 'MINID', '4-0');
      expect(await isRotatedNow()).toBe(false); // The event after it names it.
      await bus.log.publish(publications(6));
      await bus.redis.xtrim(keys.stream('log'), 'MINID', '15-0');
      expect(await isRotatedNow()).toBe(false);
    });

    test('finds a log that came back older though its place is trimmed away by what came after', async () => {
      await bus.log.publish(publications(3));
      expect(await isRotatedNow()).toBe(false);
      await bus.server.backup();
      await bus.log.publish(publications(2));
      expect(await isRotatedNow()).toBe(false);
      await comeBackOlder(9);
      await bus.redis.xtrim(keys.stream('log'), 'MINID', '11-0');
      expect(await isRotatedNow()).toBe(true);
      expect(await isRotatedNow()).toBe(false);
    });

    test('after a rotation what was published is still remembered, and what was lost is published again', async () => {
      const [kept, lost] = [publication(), publication()];
      await bus.log.publish([kept]);
      await bus.server.backup();
      await bus.log.publish([lost]);
      expect(await isRotatedNow()).toBe(false);
      await comeBackOlder();
      expect(await isRotatedNow()).toBe(true);
      const again = await bus.log.publish([kept, lost]);
      expect(again.map(({ duplicate }) => duplicate)).toEqual([true, false]);
      expect(idsOf(await stored(bus.redis, 'identity'))).toEqual([kept.event.id, lost.event.id]);
      // Over a second rotation, too.
      await database.db.updateTable('log_witness').set({ proof: 'deadbeef' }).execute();
      expect(await isRotatedNow()).toBe(true);
      expect((await bus.log.publish([kept, lost])).map(({ duplicate }) => duplicate)).toEqual([true, true]);
    });

    test('a rotation that nobody could write down is none too many when it is found', async () => {
      await bus.log.publish(publications(3));
      expect(await isRotatedNow()).toBe(false);
      const [{ epoch: first = '', log_offset: offset = 0 } = {}] = await known();
      // Died between Redis and the database.
      const newest = { epoch: first, offset, proof: 'deadbeef' };
      expect((await bus.log.testify({ newest, epochs: [] }, TERM)).rotated).toBe(true);
      expect(await isRotatedNow()).toBe(false);
      expect((await known()).map(({ epoch }) => epoch)).toEqual([first, await epoch()]);
    });

    test('many epochs: the oldest are forgotten, the rest stay', async () => {
      for (let n = 0; n < 205; n += 1) {
        await bus.redis.flushall();
        await createWitness().testify(TERM);
      }
      const rows = await known();
      expect(rows.length).toBeLessThanOrEqual(201);
      expect(rows.length).toBeGreaterThanOrEqual(199);
      expect(rows.at(-1)?.epoch).toBe(await epoch());
    });

    test('refuses the older of two terms, in publishing and in testifying, and lets others be', async () => {
      const [older, newer] = [TERM, TERM + 1];
      const first = await createWitness().testify(older);
      const next = await bus.log.relay([publication()], older, first);
      const last = await bus.log.relay([publication()], newer, next);
      await expect(bus.log.relay([publication()], older, last)).rejects.toBeInstanceOf(FencedOffError);
      await expect(createWitness().testify(older)).rejects.toMatchObject({ newest: newer });
      await createWitness().testify(newer);
      await bus.log.publish([publication()]); // A producer without a row.
      expect(await stored(bus.redis, 'identity')).toHaveLength(3);
      expect((await known()).map(({ log_offset }) => log_offset)).toEqual([2]);
    });

    test('a leader that slept before it wrote down what it had asked overwrites nothing newer', async () => {
      await bus.log.publish(publications(2));
      const [asked, mayWrite] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const asleep = new LogWitness(
        database.db,
        {
          async testify(witness, term) {
            const stands = await bus.log.testify(witness, term);
            asked.resolve();
            await mayWrite.promise;
            return stands;
          },
        },
        quiet,
      );
      const writing = asleep.testify(TERM);
      await asked.promise;
      await bus.log.publish(publications(3));
      await createWitness().testify(TERM + 1);
      mayWrite.resolve();
      await writing;
      const { epoch, proof } = await bus.log.position('log');
      expect(await known()).toEqual([{ epoch, log_offset: 5, proof }]);
    });

    test('a leader that slept over a rotation leaves the newest epoch the newest', async () => {
      await bus.log.publish(publications(2));
      await createWitness().testify(TERM);
      const [asked, mayWrite] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const asleep = new LogWitness(
        database.db,
        {
          async testify(witness, term) {
            await bus.log.publish(publications(1));
            const stands = await bus.log.testify(witness, term);
            asked.resolve();
            await mayWrite.promise;
            return stands;
          },
        },
        quiet,
      );
      const writing = asleep.testify(TERM);
      await asked.promise;
      await bus.redis.flushall();
      await createWitness().testify(TERM + 1);
      mayWrite.resolve();
      await writing;
      expect((await known()).at(-1)?.epoch).toBe(await epoch());
      expect(await isRotatedNow(TERM + 2)).toBe(false);
    });
  });
}
