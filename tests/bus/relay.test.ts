import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent, type Event } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { keys } from '../../src/bus/keys.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Relay } from '../../src/bus/relay.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, idsOf, offsetsOf, stored, storedLog, upTo } from './support.ts';

/** A lease of three seconds has to end in some of these. */
const TIMEOUT_MS = 20_000;

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
afterAll(() => bus.stop());

const identityEvents = (count: number, first = 1) =>
  upTo(first + count - 1, first).map((n) => createEvent('identity.formed', '', { n }));

for (const engine of ENGINES) {
  describe(`the relay on ${engine}`, () => {
    let database: TestDatabase;
    let relays: Relay[];
    let connections: RedisConnections;
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      await bus.redis.flushall();
      for (const table of ['outbox', 'channel_revisions', 'leases'] as const) {
        await database.db.deleteFrom(table).execute();
      }
      relays = [];
      connections = connectRedis(bus.server.url, quiet);
      await whenReady(connections);
    });
    afterEach(async () => {
      await Promise.all(relays.map((relay) => relay.stop()));
      connections.close();
    });
    afterAll(() => database.dispose());

    const createRelay = (node = 'n1') => {
      const relay = new Relay(database.db, new EventLog(connections.commands, DEFAULTS), node, quiet);
      relays.push(relay);
      return relay;
    };
    const commit = (...events: readonly Event[]) =>
      database.db.transaction().execute((trx) => appendToOutbox(trx, events));
    const waiting = async () =>
      Number(
        (
          await database.db
            .selectFrom('outbox')
            .select((e) => e.fn.countAll().as('n'))
            .executeTakeFirst()
        )?.n,
      );
    const untilDrained = () => until('an empty outbox', async () => (await waiting()) === 0);

    /** Every event is in the log once, in the order given. */
    async function expectDelivered(events: readonly Event[]): Promise<void> {
      await untilDrained();
      expect(idsOf(await stored(bus.redis, 'identity'))).toEqual(events.map(({ id }) => id));
      expect(offsetsOf(await stored(bus.redis, 'identity'))).toEqual(upTo(events.length));
      expect((await stored(bus.redis, 'identity')).map(({ revision }) => revision)).toEqual(upTo(events.length));
    }

    test('moves committed events into the log, in order, and empties the outbox', async () => {
      const events = identityEvents(5);
      await commit(...events);
      createRelay().start();
      await expectDelivered(events);
    });

    test('moves more than one read of the outbox holds', async () => {
      const events = identityEvents(450);
      await commit(...events);
      createRelay().start();
      await expectDelivered(events);
    });

    test('hands on the envelope that was committed', async () => {
      const event = createEvent(
        'decky.web.state',
        'state',
        { topology_id: 't1', text: 'ä\n\u2028"' },
        'my-id',
        1_234_567,
      );
      await commit(event);
      createRelay().start();
      await untilDrained();
      const [entry] = await storedLog(bus.redis);
      expect(entry).toMatchObject({ id: 'my-id', topic: 'decky.web.state', offset: 1 });
      expect(JSON.parse(entry?.data ?? '')).toEqual({
        topic: event.topic,
        type: 'state',
        ts: 1234.567,
        payload: event.payload,
      });
      expect(entry?.places).toMatchObject([
        { channel: 'decky', offset: 1, revision: 1 },
        { channel: 'topology.t1', offset: 1, revision: 1 },
      ]);
    });

    test('a wake makes it look at once, and what another process commits it finds by itself', async () => {
      const relay = createRelay();
      relay.start();
      const events = identityEvents(2);
      await commit(...events.slice(0, 1));
      relay.wake();
      await untilDrained();
      await commit(...events.slice(1));
      await expectDelivered(events);
    });

    test('that was killed after publishing and before deleting: its successor publishes nothing twice', async () => {
      const events = identityEvents(4);
      await commit(...events);
      const rows = await database.db.selectFrom('outbox').selectAll().orderBy('seq').limit(3).execute();
      await bus.log.publish(
        rows.map((row) => ({
          event: {
            v: 1,
            id: row.event_id,
            topic: row.topic,
            type: row.type,
            ts: row.ts,
            payload: JSON.parse(row.payload),
          },
          revisions: JSON.parse(row.revisions),
        })),
      );
      createRelay().start();
      await expectDelivered(events);
    });

    test('remembers an id long while its row may still be there, and no longer than others afterwards', async () => {
      const [event] = identityEvents(1);
      if (event === undefined) throw new Error('no event');
      await commit(event);
      createRelay().start();
      await untilDrained();
      await until('the acknowledgement', async () => {
        const remaining = await bus.redis.pttl(keys.published(event.id));
        return remaining > 0 && remaining <= DEFAULTS.idempotencyMs;
      });
    });

    test('two of them: one leads, and the other takes over when it stops', async () => {
      const [first, second] = [createRelay('n1'), createRelay('n2')];
      first.start();
      const events = identityEvents(60);
      await commit(...events.slice(0, 20));
      await untilDrained();
      second.start();
      await commit(...events.slice(20, 40));
      await untilDrained();
      await first.stop();
      await commit(...events.slice(40));
      await expectDelivered(events);
    });

    test(
      'two that both take themselves for the leader, because one was paused: every event once, in order',
      async () => {
        const [first, second] = [createRelay('n1'), createRelay('n2')];
        first.start();
        second.start();
        const events = identityEvents(300);
        for (let index = 0; index < events.length; index += 10) {
          await commit(...events.slice(index, index + 10));
          // Whoever leads believes so for a second; the other is told that the lease has ended.
          await database.db.updateTable('leases').set({ expires_at: 0 }).execute();
          first.wake();
          second.wake();
        }
        await expectDelivered(events);
      },
      TIMEOUT_MS,
    );

    test(
      'takes over from a leader that died, when its lease has ended',
      async () => {
        const now = Date.now();
        await database.db
          .insertInto('leases')
          .values({ name: 'relay', holder: 'dead', expires_at: now + 300 })
          .execute();
        const events = identityEvents(3);
        await commit(...events);
        createRelay().start();
        await expectDelivered(events);
        expect(Date.now()).toBeGreaterThanOrEqual(now + 300);
      },
      TIMEOUT_MS,
    );

    test(
      'what is committed while Redis is down arrives later, once, in order',
      async () => {
        const relay = createRelay();
        relay.start();
        const events = identityEvents(30);
        await commit(...events.slice(0, 10));
        await untilDrained();
        await bus.server.down();
        for (const event of events.slice(10)) await commit(event);
        relay.wake();
        expect((await relay.lag()).rows).toBe(20);
        await bus.server.up();
        await expectDelivered(events);
      },
      TIMEOUT_MS,
    );

    test('after a flush of Redis publishes what waits, in the new epoch', async () => {
      const [before, after] = [identityEvents(2), identityEvents(2, 3)];
      const relay = createRelay();
      await commit(...before);
      relay.start();
      await untilDrained();
      const { epoch } = await bus.log.position('log');
      await bus.redis.flushall();
      await commit(...after);
      relay.wake();
      await untilDrained();
      expect((await bus.log.position('log')).epoch).not.toBe(epoch);
      const entries = await stored(bus.redis, 'identity');
      expect(idsOf(entries)).toEqual(after.map(({ id }) => id));
      expect(entries.map(({ offset, revision }) => [offset, revision])).toEqual([
        [1, 3],
        [2, 4],
      ]);
    });

    test('twenty transactions at once on one channel: the log has them in the order of their revisions', async () => {
      createRelay().start();
      const events = upTo(20).map((n) => createEvent('topology.t1.status', '', { n }));
      await Promise.all(events.map((event) => commit(event)));
      await untilDrained();
      const entries = await stored(bus.redis, 'topology.t1');
      expect(entries.map(({ revision }) => revision)).toEqual(upTo(20));
      expect(offsetsOf(entries)).toEqual(upTo(20));
      expect(idsOf(entries).sort()).toEqual(events.map(({ id }) => id).sort());
    });

    test('tells what waits and for how long', async () => {
      const relay = createRelay();
      expect(await relay.lag()).toEqual({ rows: 0, oldestSeconds: 0, setAside: 0 });
      const at = 1_700_000_000_000;
      await commit(
        createEvent('identity.formed', '', {}, 'a', at + 2000),
        createEvent('identity.formed', '', {}, 'b', at),
        createEvent('identity.formed', '', {}, 'c', at + 4000),
      );
      expect(await relay.lag(at + 5000)).toEqual({ rows: 3, oldestSeconds: 5, setAside: 0 });
      // Clocks of two nodes: never less than nothing.
      expect(await relay.lag(at - 5000)).toEqual({ rows: 3, oldestSeconds: 0, setAside: 0 });
    });

    test('stops in the middle of its work, gives the leadership back, and loses nothing', async () => {
      const events = identityEvents(500);
      await commit(...events);
      const relay = createRelay();
      relay.start();
      await until('the first events', async () => (await bus.redis.exists(keys.stream('identity'))) === 1);
      await relay.stop();
      expect(await database.db.selectFrom('leases').select('holder').execute()).toEqual([{ holder: '' }]);
      createRelay('n2').start();
      await expectDelivered(events);
    });
  });
}
