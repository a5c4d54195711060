import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { LOG_CHANNEL } from '../../../src/bus/channel.ts';
import { FIRST } from '../../stream/support.ts';
import { ENGINES } from '../../support/database.ts';
import { until } from '../../support/until.ts';
import { createWorld, memorySubstrate, type World } from './support.ts';

for (const engine of ENGINES) {
  describe(`the mutator (${engine})`, () => {
    let world: World;
    beforeAll(async () => {
      world = await createWorld(engine);
    });
    beforeEach(async () => {
      await world.office();
    });
    afterEach(() => world.clear());
    afterAll(() => world.dispose());

    const untilDone = (id = 't1') =>
      until(`the mutations of ${id}`, async () => {
        const rows = await world.mutations(id);
        return rows.every(({ state }) => state === 'applied' || state === 'failed') && rows;
      });
    const statesOf = async (id = 't1') => (await world.mutations(id)).map(({ state }) => state);
    /** A promise to hold something back by, and what lets it go. */
    const gate = () => Promise.withResolvers<void>();

    test('applies at its start what waits, in order, and goes on after a failure', async () => {
      for (const name of ['a', 'b', 'b', 'c']) await world.enqueue('add_lan', { name });
      world.mutator();
      expect((await untilDone()).map(({ state }) => state)).toEqual(['applied', 'applied', 'failed', 'applied']);
      expect((await world.events()).map(({ name }) => name.replace('mutation.', ''))).toEqual([
        ...['applying', 'applied', 'applying', 'applied', 'applying', 'failed', 'status'],
        ...['applying', 'applied', 'status'],
      ]);
      expect(await world.status()).toBe('active');
    });

    test('applies at once what it hears of, though it will not look for an hour', async () => {
      const mutator = world.mutator();
      await untilDone();
      await world.enqueue('add_lan', { name: 'lab' });
      const entry = { offset: 1, ...FIRST, id: 'e1', topic: 'topology.t1.mutation.enqueued', data: '{}', revision: 0 };
      mutator.listener.onBatch({ epoch: 'e', channel: LOG_CHANNEL, first: 1, last: 1, entries: [entry] });
      expect((await untilDone()).map(({ state }) => state)).toEqual(['applied']);
    });

    test.each(['wake', 'onBreak'] as const)('looks at every queue upon %s', async (how) => {
      const mutator = world.mutator();
      await world.office('t2');
      await world.enqueue('add_lan', { name: 'lab' });
      await world.enqueue('add_lan', { name: 'lab' }, 't2');
      if (how === 'wake') mutator.wake();
      else mutator.listener.onBreak('epoch');
      await untilDone();
      await untilDone('t2');
    });

    test('finds by itself what nobody tells it, as while Redis is down', async () => {
      world.mutator({ pollMs: 5 });
      await world.enqueue('add_lan', { name: 'lab' });
      await untilDone();
      await world.enqueue('add_lan', { name: 'vault' });
      expect((await untilDone()).map(({ state }) => state)).toEqual(['applied', 'applied']);
    });

    test('a slow topology delays no other', async () => {
      const held = gate();
      const { substrate } = memorySubstrate((asked) => (asked === 'ensureNetwork slow' ? held.promise : undefined));
      await world.enqueue('add_lan', { name: 'slow' });
      await world.enqueue('add_lan', { name: 'after' });
      for (const id of ['t2', 't3']) {
        await world.office(id);
        for (const name of ['a', 'b', 'c']) await world.enqueue('add_lan', { name }, id);
      }
      // Two at once, so that the slow one leaves a single place to all others.
      world.mutator({ substrate, parallel: 2 });
      await untilDone('t2');
      await untilDone('t3');
      expect(await statesOf()).toEqual(['applying', 'pending']);
      held.resolve();
      await untilDone();
    });

    test('topologies take turns: a long queue does not keep others waiting', async () => {
      await world.office('t2');
      for (const x of [1, 2, 3, 4, 5, 6]) await world.enqueue('update_lan', { name: 'dmz', x });
      await world.enqueue('add_lan', { name: 'lab' }, 't2');
      world.mutator({ parallel: 1 });
      await untilDone();
      await untilDone('t2');
      const rows = await world.db.selectFrom('outbox').select('topic').orderBy('seq').execute();
      const applied = rows.map(({ topic }) => topic).filter((topic) => topic.endsWith('.applied'));
      expect(applied.indexOf('topology.t2.mutation.applied')).toBe(1);
    });

    test('works on no more topologies at once than it may', async () => {
      const held = gate();
      const { substrate, asked } = memorySubstrate(() => held.promise);
      for (const id of ['t2', 't3', 't4']) await world.office(id);
      for (const id of ['t1', 't2', 't3', 't4']) await world.enqueue('add_lan', { name: id }, id);
      const mutator = world.mutator({ substrate, parallel: 3 });
      await until('three at work', () => asked.length === 3);
      mutator.wake('t4');
      expect(await statesOf('t4')).toEqual(['pending']);
      held.resolve();
      for (const id of ['t1', 't2', 't3', 't4']) await untilDone(id);
      expect(asked).toHaveLength(4);
    });

    test('stops after the mutation under way, and leaves the rest to its successor', async () => {
      const held = gate();
      const { substrate, asked } = memorySubstrate(() => held.promise);
      for (const name of ['a', 'b']) await world.enqueue('add_lan', { name });
      const mutator = world.mutator({ substrate });
      await until('work', () => asked.length === 1);
      const stopping = mutator.stop();
      held.resolve();
      await stopping;
      expect(await statesOf()).toEqual(['applied', 'pending']);
      mutator.wake('t1');
      mutator.wake();
      world.mutator();
      expect((await untilDone()).map(({ state, claimed_by }) => [state, claimed_by])).toEqual([
        ['applied', 'm1'],
        ['applied', 'm2'],
      ]);
    });

    test('keeps its claim for as long as the substrate takes', async () => {
      const held = gate();
      const { substrate, asked } = memorySubstrate(() => held.promise);
      await world.enqueue('add_lan', { name: 'slow' });
      world.mutator({ substrate, leaseMs: 60 });
      await until('work', () => asked.length === 1);
      const expiry = async () => (await world.mutations())[0]?.claim_expires_at ?? 0;
      const first = await expiry();
      const other = world.mutator({ substrate, leaseMs: 60, pollMs: 5 });
      // Several leases long, during which the other one looks all the time.
      await until('renewals', async () => (await expiry()) > first + 300);
      expect(await world.mutations()).toMatchObject([{ state: 'applying', claimed_by: 'm1', attempts: 1 }]);
      held.resolve();
      await untilDone();
      await other.stop();
      expect(asked).toEqual(['ensureNetwork slow']);
    });

    test('of two that race for one topology never do both apply', async () => {
      const running = new Set<string>();
      let most = 0;
      const watching = () =>
        memorySubstrate(async (asked) => {
          running.add(asked);
          most = Math.max(most, running.size);
          await new Promise((resolve) => setImmediate(resolve));
          running.delete(asked);
        }).substrate;
      for (let index = 0; index < 30; index += 1) await world.enqueue('add_lan', { name: `lan-${index}` });
      const mutators = [1, 2, 3].map(() => world.mutator({ substrate: watching(), pollMs: 1 }));
      const rows = await until('all', async () => {
        for (const mutator of mutators) mutator.wake('t1');
        const all = await world.mutations();
        return all.every(({ state }) => state === 'applied') && all;
      });
      expect(most).toBe(1);
      expect(rows.map(({ attempts }) => attempts)).toEqual(rows.map(() => 1));
      expect((await world.state()).lans).toHaveLength(32);
    });

    test('gives a mutation up when something fails in between, and takes it again', async () => {
      await world.enqueue('update_lan', { name: 'dmz', x: 1 });
      // The time is asked for to look at the queues, to claim, and to write what was done.
      let asked = 0;
      const now = () => {
        asked += 1;
        if (asked === 3) throw new Error('the connection is lost');
        return Date.now();
      };
      const mutator = world.mutator({ now });
      await until('the claim to be given up', async () => (await world.mutations())[0]?.claim_expires_at === 0);
      mutator.wake();
      expect(await untilDone()).toMatchObject([{ state: 'applied', attempts: 2 }]);
      expect((await world.events()).map(({ name }) => name)).toEqual(['mutation.applying', 'mutation.applied']);
    });
  });
}
