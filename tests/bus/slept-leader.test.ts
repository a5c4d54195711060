import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { EventLog, FencedOffError, type Publication, type WitnessedPlace } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { OutboxPublisher } from '../../src/bus/outbox-publisher.ts';
import { Relay } from '../../src/bus/relay.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, idsOf, stored, upTo } from './support.ts';

const TIMEOUT_MS = 20_000;

/** Falls asleep between reading rows and publishing them. */
class SleepyLog extends EventLog {
  readonly asleep = Promise.withResolvers<void>();
  readonly wake = Promise.withResolvers<void>();

  override async relay(publications: readonly Publication[], ...of: [number, WitnessedPlace]) {
    this.asleep.resolve();
    await this.wake.promise;
    return super.relay(publications, ...of);
  }
}

for (const engine of ENGINES) {
  describe(`a relay leader that slept with rows in its hand, on ${engine}`, () => {
    let bus: Bus;
    let database: TestDatabase;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      bus = await createBus();
      for (const table of ['outbox', 'channel_revisions', 'leases', 'log_witness'] as const) {
        await database.db.deleteFrom(table).execute();
      }
    });
    afterEach(() => bus.stop());
    afterAll(() => database.dispose());

    const events = upTo(3).map((n) => createEvent('identity.formed', '', { n }));
    const commit = () => database.db.transaction().execute((trx) => appendToOutbox(trx, events));
    const options = { ...DEFAULTS, idempotencyMs: 1 };

    /** It reads, another one publishes, acknowledges and all is forgotten; then it wakes. */
    async function oversleep(term: number, newer: number): Promise<unknown> {
      await commit();
      const log = new SleepyLog(bus.redis, options);
      const slept = new OutboxPublisher(database.db, log, quiet).publishNext(term).then(
        () => undefined,
        (error: unknown) => error,
      );
      await log.asleep.promise;
      await new OutboxPublisher(database.db, new EventLog(bus.redis, options), quiet).publishNext(newer);
      await until('the ids to be forgotten', async () => {
        const names = events.map(({ id }) => keys.published(id));
        return (await bus.redis.exists(...names)) === 0;
      });
      log.wake.resolve();
      return slept;
    }

    test('publishes nothing again: its term is over', async () => {
      expect(await oversleep(1, 2)).toBeInstanceOf(FencedOffError);
      expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(events.map(({ id }) => id));
    });

    test('control: in the same term it would', async () => {
      expect(await oversleep(1, 1)).toBeUndefined();
      expect(await stored(bus.redis, 'identity')).toHaveLength(2 * events.length);
    });

    test(
      'a database that was restored and knows older terms than Redis does not lock its relay out',
      async () => {
        const future = Date.now() + 1_000_000;
        await commit();
        await new OutboxPublisher(database.db, new EventLog(bus.redis, DEFAULTS), quiet).publishNext(future);
        const next = createEvent('identity.formed', '', { n: 4 });
        await database.db.transaction().execute((trx) => appendToOutbox(trx, [next]));
        const relay = new Relay(database.db, new EventLog(bus.redis, DEFAULTS), 'n1', quiet);
        relay.start();
        await until('the event', async () => (await relay.lag()).rows === 0, TIMEOUT_MS);
        await relay.stop();
        expect(idsOf(await stored(bus.redis, 'identity')).at(-1)).toBe(next.id);
      },
      TIMEOUT_MS,
    );
  });
}
