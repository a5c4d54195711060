import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent, type Event } from '../../src/bus/event.ts';
import { EventLog } from '../../src/bus/event-log.ts';
import { appendToOutbox } from '../../src/bus/outbox.ts';
import { connectRedis, type RedisConnections } from '../../src/bus/redis.ts';
import { Relay } from '../../src/bus/relay.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { whenReady } from '../support/redis.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, DEFAULTS, idsOf, publications, stored, upTo } from './support.ts';

const TIMEOUT_MS = 20_000;

for (const engine of ENGINES) {
  describe(`a row that the relay has published and deleted, on ${engine}`, () => {
    let bus: Bus;
    let database: TestDatabase;
    let connections: RedisConnections;
    let relays: Relay[];
    beforeAll(async () => {
      database = await createTestDatabase(engine);
    });
    beforeEach(async () => {
      bus = await createBus();
      for (const table of ['outbox', 'channel_revisions', 'leases', 'log_witness'] as const) {
        await database.db.deleteFrom(table).execute();
      }
      connections = connectRedis(bus.server.url, quiet);
      await whenReady(connections);
      relays = [];
    });
    afterEach(async () => {
      await Promise.all(relays.map((relay) => relay.stop()));
      connections.close();
      await bus.stop();
    });
    afterAll(() => database.dispose());

    function startRelay(node: string): Relay {
      const relay = new Relay(database.db, new EventLog(connections.commands, DEFAULTS), node, quiet);
      relays.push(relay);
      relay.start();
      return relay;
    }
    const commit = (...events: readonly Event[]) =>
      database.db.transaction().execute((trx) => appendToOutbox(trx, events));
    const untilDrained = (relay: Relay) => until('an empty outbox', async () => (await relay.lag()).rows === 0);
    const epoch = async () => (await bus.log.position('log')).epoch;
    const stateEvents = (count: number) => upTo(count).map((n) => createEvent('identity.formed', '', { n }));

    /** Redis holds what it held at the backup, and so many other events. */
    async function comeBackOlder(others: number): Promise<void> {
      await bus.server.down();
      await bus.server.restore();
      await bus.server.up();
      await until('redis', () => bus.redis.ping().catch(() => undefined));
      await whenReady(connections);
      await bus.log.publish(publications(others, 'attacker.observed'));
    }

    // At once: it is the newest second that a Redis which syncs every second loses.
    test.each([0, 1, 2, 7])(
      'is found missing at once, also when %i other events took its place: every client is reset',
      async (others) => {
        const relay = startRelay('n1');
        await commit(...stateEvents(2));
        await untilDrained(relay);
        await bus.server.backup();
        const lost = stateEvents(3);
        await commit(...lost);
        await untilDrained(relay);
        const before = await epoch();
        // Killed with Redis.
        await relay.stop();
        await comeBackOlder(others);
        expect(await epoch()).toBe(before);
        startRelay('n2');
        await until('a new epoch', async () => (await epoch()) !== before);
      },
      TIMEOUT_MS,
    );

    test(
      'is found missing by the leader that goes on publishing, before it publishes',
      async () => {
        const relay = startRelay('n1');
        await commit(...stateEvents(2));
        await untilDrained(relay);
        await bus.server.backup();
        await commit(...stateEvents(3));
        await untilDrained(relay);
        const before = await epoch();
        await comeBackOlder(50);
        const next = stateEvents(60);
        await commit(...next);
        relay.wake();
        await untilDrained(relay);
        expect(await epoch()).not.toBe(before);
        expect(idsOf(await stored(bus.redis, 'identity')).slice(2)).toEqual(next.map(({ id }) => id));
      },
      TIMEOUT_MS,
    );
  });
}
