import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { claimNext, lockClaim, renewClaim, topologiesWithWork } from '../../../src/topology/mutator/claim.ts';
import { ENGINES } from '../../support/database.ts';
import { createWorld, LEASE_MS, NOW, type World } from './support.ts';

for (const engine of ENGINES) {
  describe(`claims (${engine})`, () => {
    let world: World;
    let ids: string[];
    beforeAll(async () => {
      world = await createWorld(engine);
    });
    beforeEach(async () => {
      await world.office();
      ids = [];
      for (const x of [1, 2, 3]) ids.push(await world.enqueue('update_lan', { name: 'dmz', x }));
    });
    afterEach(() => world.clear());
    afterAll(() => world.dispose());

    const claim = (holder = 'm1', now = NOW, id = 't1') => claimNext(world.db, id, { holder, leaseMs: LEASE_MS, now });
    const setStatus = (status: string) => world.db.updateTable('topologies').set({ status }).execute();
    const set = (id: string | undefined, state: 'applying' | 'applied' | 'failed', expires: number | null = null) =>
      world.db
        .updateTable('topology_mutations')
        .set({ state, claim_expires_at: expires })
        .where('id', '=', id ?? '')
        .execute();
    const work = (now = NOW) => topologiesWithWork(world.db, now);

    test('take the oldest that waits, with its event in the same commit', async () => {
      expect(await claim()).toEqual({
        mutationId: ids[0] ?? '',
        topologyId: 't1',
        op: 'update_lan',
        payload: '{"name":"dmz","x":1}',
        holder: 'm1',
        attempt: 1,
      });
      expect(
        (await world.mutations()).map((row) => [row.state, row.claimed_by, row.claim_expires_at, row.attempts]),
      ).toEqual([
        ['applying', 'm1', NOW + LEASE_MS, 1],
        ['pending', null, null, 0],
        ['pending', null, null, 0],
      ]);
      expect(await world.events()).toEqual([
        {
          name: 'mutation.applying',
          type: 'applying',
          payload: { mutation_id: ids[0], op: 'update_lan', payload: '{"name":"dmz","x":1}' },
        },
      ]);
    });

    test('are one at a time in a topology, whoever asks', async () => {
      await claim();
      expect(await claim('m2')).toBeUndefined();
      expect(await claim('m1')).toBeUndefined();
      expect(await claim('m2', NOW + LEASE_MS)).toBeUndefined();
    });

    test('of ten mutators that race, one has it, ten times', async () => {
      for (let round = 0; round < 10; round += 1) {
        const id = ids[round] ?? '';
        const claims = await Promise.all(Array.from({ length: 10 }, (_, index) => claim(`m${index}`)));
        expect(claims.filter((one) => one !== undefined)).toMatchObject([{ mutationId: id }]);
        await set(id, 'applied');
        ids.push(await world.enqueue('add_lan'));
      }
      expect(await world.events()).toHaveLength(10);
    });

    test('that have expired go to another mutator before anything newer, and nothing is told twice', async () => {
      await claim();
      const later = NOW + LEASE_MS + 1;
      expect(await work(later)).toEqual(['t1']);
      expect(await claim('m2', later)).toMatchObject({ mutationId: ids[0], holder: 'm2', attempt: 2 });
      expect(await world.events()).toHaveLength(1);
      expect(await claim('m3', later)).toBeUndefined();
    });

    test('that nobody ever made, of a mutator without leases, are taken over at once', async () => {
      await set(ids[1], 'applying');
      expect(await claim()).toMatchObject({ mutationId: ids[1] });
    });

    test('are not given for a topology that is not live, except to end what was begun', async () => {
      for (const status of ['pending', 'deploying', 'failed', 'tearing_down', 'torn_down']) {
        await setStatus(status);
        expect(await work()).toEqual([]);
        expect(await claim()).toBeUndefined();
      }
      await set(ids[0], 'applying', NOW - 1);
      expect(await work()).toEqual(['t1']);
      expect(await claim()).toMatchObject({ mutationId: ids[0] });
    });

    test('are given for a degraded topology', async () => {
      await setStatus('degraded');
      expect(await work()).toEqual(['t1']);
      expect(await claim()).toMatchObject({ mutationId: ids[0] });
    });

    test('pass over what is done', async () => {
      await set(ids[0], 'applied');
      await set(ids[1], 'failed');
      expect(await claim()).toMatchObject({ mutationId: ids[2] });
      await set(ids[2], 'applied');
      expect(await claim()).toBeUndefined();
      expect(await work()).toEqual([]);
    });

    test('of no topology', async () => {
      expect(await claim('m1', NOW, 'nowhere')).toBeUndefined();
    });

    test('last as long as they are renewed', async () => {
      const held = await claim();
      if (held === undefined) throw new Error('nothing claimed');
      expect(await renewClaim(world.db, held, NOW + 2 * LEASE_MS)).toBe(true);
      expect(await claim('m2', NOW + LEASE_MS + 1)).toBeUndefined();
      expect(await claim('m2', NOW + 2 * LEASE_MS + 1)).toMatchObject({ mutationId: ids[0] });
      expect(await renewClaim(world.db, held, NOW + 9 * LEASE_MS)).toBe(false);
    });

    test('are lost to a later claim of the same mutator too', async () => {
      const held = await claim();
      const again = await claim('m1', NOW + LEASE_MS + 1);
      if (held === undefined || again === undefined) throw new Error('nothing claimed');
      const look = (one: typeof held) => world.db.transaction().execute((trx) => lockClaim(trx, one));
      expect(await renewClaim(world.db, held, NOW)).toBe(false);
      expect(await look(held)).toBeUndefined();
      expect(await look(again)).toEqual({ status: 'active', reservedSubnet: null });
    });

    test('wait for nothing in another topology', async () => {
      await world.office('t2');
      await world.enqueue('update_lan', { name: 'dmz', x: 1 }, 't2');
      await claim();
      expect(await claim('m1', NOW, 't2')).toMatchObject({ topologyId: 't2' });
    });

    test('the topologies with work are told longest waiting first', async () => {
      await world.office('t0');
      await world.office('t2');
      for (const [id, at] of [
        ['t0', '2026-11-21T08:00:02.000Z'],
        ['t1', '2026-11-21T08:00:03.000Z'],
        ['t2', '2026-11-21T08:00:01.000Z'],
      ] as const) {
        if (id !== 't1') await world.enqueue('update_lan', { name: 'dmz', x: 1 }, id);
        await world.db
          .updateTable('topology_mutations')
          .set({ requested_at: at })
          .where('topology_id', '=', id)
          .execute();
      }
      expect(await work()).toEqual(['t2', 't0', 't1']);
    });
  });
}
