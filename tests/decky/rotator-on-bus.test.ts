import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { Relay } from '../../src/bus/relay.ts';
import { Tail } from '../../src/bus/tail.ts';
import { Rotator } from '../../src/decky/rotator.ts';
import { recordSubstrate } from '../../src/substrate/record.ts';
import { type Bus, createBus, publication, storedLog } from '../bus/support.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { insertFleetDecky } from './support.ts';

for (const engine of ENGINES) {
  describe(`rotation over the log (${engine})`, () => {
    let database: TestDatabase;
    let bus: Bus;
    const stops: (() => unknown)[] = [];

    beforeEach(async () => {
      [database, bus] = await Promise.all([createTestDatabase(engine), createBus()]);
    });
    afterEach(async () => {
      for (const stop of stops.splice(0).reverse()) await stop();
      await bus.stop();
      await database.dispose();
    });

    /** A node: what it hears comes from the log, what it tells goes through the outbox. */
    const startNode = (name: string) => {
      const relay = new Relay(database.db, bus.log, name, quiet);
      const rotator = new Rotator({
        db: database.db,
        substrate: recordSubstrate,
        logger: quiet,
        onCommitted: () => relay.wake(),
        pollMs: 3_600_000,
      });
      const tail = new Tail(() => bus.server.client(), bus.log, rotator.listener, quiet);
      tail.start();
      relay.start();
      rotator.start();
      stops.push(
        () => tail.stop(),
        () => relay.stop(),
        () => rotator.stop(),
      );
      return tail;
    };

    test('two nodes hear one request: one rotation, told in order', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const tails = [startNode('n1'), startNode('n2')];
      await until('both to read', () => tails.every((tail) => tail.cursor.epoch !== ''));
      await bus.log.publish([publication('decky.edge-1.mutate_request')]);
      const told = await until('the rotation to be told', async () => {
        const entries = await storedLog(bus.redis);
        return entries.length >= 4 && entries;
      });
      await until('both to have read it', () => tails.every((tail) => tail.cursor.offset >= 4));
      await Promise.all(stops.splice(0).map((stop) => stop()));
      expect(told.map(({ topic }) => topic)).toEqual([
        'decky.edge-1.mutate_request',
        'decky.edge-1.lifecycle',
        'decky.edge-1.mutation',
        'decky.edge-1.lifecycle',
      ]);
      expect(await storedLog(bus.redis)).toHaveLength(4);
      expect(await database.db.selectFrom('decky_lifecycle').selectAll().execute()).toHaveLength(1);
    });
  });
}
