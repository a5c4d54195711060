import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import type { JsonObject } from '../../../src/bus/event.ts';
import { ClaimLost, carryOut } from '../../../src/substrate/substrate.ts';
import type { MutationOp } from '../../../src/topology/model.ts';
import { claimNext } from '../../../src/topology/mutator/claim.ts';
import { planMutation } from '../../../src/topology/mutator/plan.ts';
import { substrateActions } from '../../../src/topology/ops/substrate-actions.ts';
import type { TopologyState } from '../../../src/topology/state.ts';
import { transition } from '../../../src/topology/status.ts';
import { ENGINES } from '../../support/database.ts';
import { openFence } from '../../support/fence.ts';
import { REFUSALS } from '../ops/refusals.ts';
import { createWorld, LEASE_MS, memorySubstrate, NOW, type World } from './support.ts';

/** Each operation once, one after the other on the office. */
const SUCCESSES: readonly (readonly [MutationOp, JsonObject])[] = [
  ['add_lan', { name: 'lab', x: 3 }],
  ['attach_decky', { decky: 'web', lan: 'lab' }],
  ['add_decky', { name: 'db', lan: 'lab', services: ['mysql'], archetype: 'database' }],
  ['update_decky', { decky: 'db', patch: { tag: 'new' }, services: ['postgres'], x: 9 }],
  ['update_lan', { name: 'lab', patch: { name: 'vault' }, y: 4 }],
  ['detach_decky', { decky: 'gateway', lan: 'office' }],
  ['remove_decky', { decky: 'db' }],
  ['remove_lan', { name: 'vault' }],
];

for (const engine of ENGINES) {
  describe(`applying a mutation (${engine})`, () => {
    let world: World;
    beforeAll(async () => {
      world = await createWorld(engine);
    });
    afterEach(() => world.clear());
    afterAll(() => world.dispose());

    /** A substrate that runs the topology as the database has it. */
    const substrateOf = async (state: TopologyState, before?: Parameters<typeof memorySubstrate>[0]) => {
      let armed = false;
      const memory = memorySubstrate((asked) => (armed ? before?.(asked) : undefined));
      await carryOut(
        memory.substrate,
        substrateActions({ ...state, lans: [], deckies: [], edges: [] }, state),
        openFence(),
      );
      memory.asked.length = 0;
      armed = true;
      return memory;
    };
    const statusEvents = () =>
      world.db
        .selectFrom('topology_status_events')
        .select(['from_status', 'to_status', 'reason'])
        .orderBy('at')
        .execute();

    test('does what each operation says, on disk and in the substrate, and tells so', async () => {
      const memory = await substrateOf(await world.office());
      for (const [op, payload] of SUCCESSES) {
        const before = await world.state();
        const mutationId = await world.enqueue(op, payload);
        const claim = { mutationId, topologyId: 't1', op, payload: JSON.stringify(payload), holder: 'm1', attempt: 1 };
        const plan = planMutation(claim, before, { reserved: null, used: before.lans.map(({ subnet }) => subnet) });
        expect(await world.applyNext({ substrate: memory.substrate })).toBe(true);
        const after = await world.state();
        if (!plan.can) throw new Error(`${op}: ${plan.reason}`);
        expect(partsOf(after)).toEqual(partsOf(plan.state));
        expect(memory.running()).toEqual((await substrateOf(after)).running());
        expect((await world.events()).slice(-2)).toEqual([
          {
            name: 'mutation.applying',
            type: 'applying',
            payload: { mutation_id: mutationId, op, payload: JSON.stringify(payload) },
          },
          { name: 'mutation.applied', type: 'applied', payload: { mutation_id: mutationId, op } },
        ]);
      }
      expect(await world.events()).toHaveLength(2 * SUCCESSES.length);
      expect((await world.mutations()).map(({ state, reason, applied_at }) => [state, reason, applied_at])).toEqual(
        SUCCESSES.map(() => ['applied', null, new Date(NOW).toISOString()]),
      );
      expect(await world.status()).toBe('active');
    });

    test('keeps the id that the substrate gives a network', async () => {
      await world.office();
      await world.enqueue('add_lan', { name: 'lab' });
      await world.applyNext({ substrate: memorySubstrate().substrate });
      const lab = (await world.state()).lans.find(({ name }) => name === 'lab');
      expect(lab?.docker_network_id).toBe(`network of ${lab?.id}`);
    });

    test('refuses with the reason of the contract, and leaves everything as it was', async () => {
      const before = await world.office();
      const memory = await substrateOf(before);
      const running = memory.running();
      for (const [op, payload, reason] of REFUSALS) {
        await world.enqueue(op, payload);
        await world.applyNext({ substrate: memory.substrate });
        expect((await world.mutations()).at(-1)).toMatchObject({
          op,
          state: 'failed',
          reason,
          applied_at: new Date(NOW).toISOString(),
        });
        expect(partsOf(await world.state())).toEqual(partsOf(before));
      }
      expect(memory.asked).toEqual([]);
      expect(memory.running()).toEqual(running);
    });

    test('tells of a failure, and of the topology once while it stays degraded', async () => {
      await world.office();
      const ids = [await world.enqueue('remove_lan', { name: 'x' }), await world.enqueue('remove_lan', { name: 'y' })];
      await world.applyNext();
      await world.applyNext();
      const [first, second] = ["MutationError: LAN 'x' not found", "MutationError: LAN 'y' not found"];
      const told = (await world.events()).filter(({ type }) => type !== 'applying');
      expect(told).toEqual([
        {
          name: 'mutation.failed',
          type: 'failed',
          payload: { mutation_id: ids[0], op: 'remove_lan', reason: first },
        },
        { name: 'status', type: 'status', payload: { state: 'degraded', reason: first } },
        {
          name: 'mutation.failed',
          type: 'failed',
          payload: { mutation_id: ids[1], op: 'remove_lan', reason: second },
        },
      ]);
      expect(await world.status()).toBe('degraded');
      expect(await statusEvents()).toEqual([{ from_status: 'active', to_status: 'degraded', reason: first ?? '' }]);
    });

    test('heals a degraded topology with the next success, after telling of it', async () => {
      await world.office('t1', 'degraded');
      await world.enqueue('update_lan', { name: 'dmz', x: 1 });
      await world.enqueue('update_lan', { name: 'dmz', x: 2 });
      await world.applyNext();
      expect(await world.status()).toBe('active');
      await world.applyNext();
      expect((await world.events()).map(({ name, payload }) => [name, payload.state])).toEqual([
        ['mutation.applying', undefined],
        ['mutation.applied', undefined],
        ['status', 'active'],
        ['mutation.applying', undefined],
        ['mutation.applied', undefined],
      ]);
      expect(await statusEvents()).toMatchObject([{ from_status: 'degraded', to_status: 'active' }]);
    });

    test('wakes the relay after each commit', async () => {
      await world.office();
      await world.enqueue('update_lan', { name: 'dmz', x: 1 });
      await world.enqueue('remove_lan', { name: 'nowhere' });
      await world.applyNext();
      expect(world.commits()).toBe(1);
      await world.applyNext();
      expect(world.commits()).toBe(2);
    });

    test.each([
      ['explode', '{}', "MutationError: unknown operation 'explode'"],
      ['add_lan', '[]', 'MutationError: the payload must be an object'],
      ['remove_lan', '{"name":"a\\u0000b"}', "MutationError: 'name' must not hold NUL or half of a surrogate pair"],
    ])('fails a row that no route wrote: %s %s', async (op, payload, reason) => {
      await world.office();
      await world.enqueue('add_lan');
      await world.db.updateTable('topology_mutations').set({ op, payload }).execute();
      await world.applyNext();
      expect(await world.mutations()).toMatchObject([{ state: 'failed', reason }]);
    });

    test('fails a payload that is no JSON, and shortens a reason that a request made long', async () => {
      await world.office();
      await world.enqueue('remove_lan', { name: 'a'.repeat(100_000) });
      await world.enqueue('add_lan');
      await world.db.updateTable('topology_mutations').set({ payload: '{' }).where('op', '=', 'add_lan').execute();
      await world.applyNext();
      await world.applyNext();
      const [long, broken] = await world.mutations();
      expect(long?.reason).toStartWith("MutationError: LAN 'aaa");
      expect(long?.reason?.length).toBe(2000);
      expect(broken).toMatchObject({ state: 'failed', reason: expect.stringMatching(/^SyntaxError: /) });
    });

    test('undoes what the substrate has done when a later step of it fails, and says why', async () => {
      const before = await world.office();
      await world.enqueue('attach_decky', { decky: 'web', lan: 'office' });
      await world.applyNext();
      const bridged = await world.state();
      const resident = bridged.deckies.filter(({ name }) => name === 'desk');
      expect(resident).toHaveLength(1);
      await world.enqueue('remove_decky', { decky: 'desk' });
      await world.applyNext();
      const ready = await world.state();
      // Two deckies to disconnect, then the network to remove: each of the three steps fails once.
      for (const failing of ['ensureDecky gateway', 'ensureDecky web', 'removeNetwork office']) {
        let failures = 0;
        const memory = await substrateOf(ready, (asked) => {
          if (asked === failing && failures === 0) {
            failures += 1;
            throw new Error('the engine said no');
          }
        });
        const running = memory.running();
        await world.enqueue('remove_lan', { name: 'office' });
        await world.applyNext({ substrate: memory.substrate });
        expect((await world.mutations()).at(-1)).toMatchObject({
          state: 'failed',
          reason: 'SubstrateError: the engine said no',
        });
        expect(memory.running()).toEqual(running);
        expect(await world.state()).toEqual({ ...ready, topology: { ...ready.topology, status: 'degraded' } });
      }
      expect(before.lans).toEqual(ready.lans);
    });

    test('undoes as far as it can, and says what it could not', async () => {
      await world.office();
      await world.enqueue('add_decky', { name: 'db', lan: 'dmz' });
      const memory = memorySubstrate((asked) => {
        throw new Error(`${asked} is impossible`);
      });
      await world.applyNext({ substrate: memory.substrate });
      expect(await world.mutations()).toMatchObject([
        {
          state: 'failed',
          reason: 'SubstrateError: ensureDecky db is impossible; not undone: removeDecky db is impossible',
        },
      ]);
    });

    test('plans again when the topology changes while the substrate is at work', async () => {
      const before = await world.office();
      const memory = await substrateOf(before, async (asked) => {
        if (asked !== 'ensureDecky web' || memory.asked.length > 1) return;
        const services = JSON.stringify(['ssh', 'http']);
        await world.db.updateTable('topology_deckies').set({ services }).where('name', '=', 'web').execute();
      });
      await world.enqueue('attach_decky', { decky: 'web', lan: 'office' });
      await world.applyNext({ substrate: memory.substrate });
      expect(memory.asked).toEqual(['ensureDecky web', 'ensureDecky web']);
      const after = await world.state();
      expect(after.deckies.find(({ name }) => name === 'web')).toMatchObject({
        services: ['ssh', 'http'],
        decky_config: { ips_by_lan: { dmz: '10.0.0.3', office: '10.0.1.4' } },
      });
      expect(memory.running()).toEqual((await substrateOf(after)).running());
    });

    test('gives up on a topology that never holds still', async () => {
      const before = await world.office();
      const ports = ['ssh', 'http', 'ftp'];
      const memory = await substrateOf(before, async (asked) => {
        if (asked !== 'ensureDecky web') return;
        ports.push(ports.shift() ?? '');
        const services = JSON.stringify(ports);
        await world.db.updateTable('topology_deckies').set({ services }).where('name', '=', 'web').execute();
      });
      await world.enqueue('attach_decky', { decky: 'web', lan: 'office' });
      await world.applyNext({ substrate: memory.substrate });
      expect(await world.mutations()).toMatchObject([
        { state: 'failed', reason: 'SubstrateError: the topology changed all the time' },
      ]);
      expect((await world.state()).edges).toEqual(before.edges);
    });

    test('fails when the topology is torn down meanwhile, and brings nothing back', async () => {
      const before = await world.office();
      const memory = await substrateOf(before, async (asked) => {
        if (asked !== 'ensureDecky db') return;
        await world.db.transaction().execute((trx) => transition(trx, 't1', ['active'], 'tearing_down', null, NOW));
      });
      await world.enqueue('add_decky', { name: 'db', lan: 'dmz' });
      await world.applyNext({ substrate: memory.substrate });
      expect(memory.asked).toEqual(['ensureDecky db', 'removeDecky db']);
      expect(await world.mutations()).toMatchObject([
        { state: 'failed', reason: 'MutationError: the topology is tearing_down' },
      ]);
      expect(partsOf(await world.state())).toEqual(partsOf(before));
      expect(await world.status()).toBe('tearing_down');
    });

    test('removes what a mutator that died has brought about, when its topology is no longer live', async () => {
      await world.office();
      const memory = memorySubstrate();
      await world.enqueue('add_lan', { name: 'lab' });
      const dead = await claimNext(world.db, 't1', { holder: 'dead', leaseMs: LEASE_MS, now: NOW });
      expect(dead).toBeDefined();
      await world.db.transaction().execute((trx) => transition(trx, 't1', ['active'], 'tearing_down', null, NOW));
      await world.applyNext({ substrate: memory.substrate, now: () => NOW + LEASE_MS + 1 });
      expect(memory.asked).toEqual(['removeNetwork lab']);
      expect(await world.mutations()).toMatchObject([{ state: 'failed' }]);
    });

    test('does nothing more once its claim has gone to another mutator', async () => {
      await world.office();
      const takeOver = () => claimNext(world.db, 't1', { holder: 'm2', leaseMs: LEASE_MS, now: NOW + LEASE_MS + 1 });
      const memory = memorySubstrate(takeOver);
      await world.enqueue('add_decky', { name: 'db', lan: 'dmz' });
      await expect(world.applyNext({ substrate: memory.substrate })).rejects.toThrow(ClaimLost);
      expect(memory.running()).toEqual([]);
      expect(await world.mutations()).toMatchObject([{ state: 'applying', claimed_by: 'm2', attempts: 2 }]);
      expect((await world.state()).deckies.map(({ name }) => name)).not.toContain('db');
    });

    test('gives LANs of topologies that grow at the same time different subnets', async () => {
      const ids = ['t1', 't2', 't3', 't4', 't5', 't6'];
      for (const id of ids) await world.office(id);
      for (const id of ids) await world.enqueue('add_lan', { name: 'lab' }, id);
      let waiting = 0;
      let release = () => {};
      const all = new Promise<void>((resolve) => {
        release = resolve;
      });
      // Nobody is through before everybody has chosen.
      const { substrate, asked } = memorySubstrate(() => {
        waiting += 1;
        if (waiting === ids.length) release();
        return all;
      });
      await Promise.all(ids.map((id) => world.applyNext({ substrate }, id)));
      const lans = await world.db.selectFrom('lans').select('subnet').where('name', '=', 'lab').execute();
      // Chosen once for all: a network of the substrate cannot have what another has, not even for a while.
      expect(asked).toHaveLength(ids.length);
      expect(lans.map(({ subnet }) => subnet).sort()).toEqual(ids.map((_, index) => `172.16.${index}.0/24`));
      // What was kept while they were added is free again for others.
      expect((await world.mutations('t3')).map((row) => row.reserved_subnet)).toEqual([null]);
    });

    test('leaves the substrate alone for a topology that an agent runs', async () => {
      await world.office();
      await world.db.updateTable('topologies').set({ mode: 'agent' }).execute();
      const memory = memorySubstrate();
      await world.enqueue('add_decky', { name: 'db', lan: 'dmz' });
      await world.applyNext({ substrate: memory.substrate });
      expect(memory.asked).toEqual([]);
      expect((await world.state()).deckies.find(({ name }) => name === 'db')?.state).toBe('pending');
    });
  });
}

function partsOf({ lans, deckies, edges }: TopologyState) {
  return {
    lans: lans.map((lan) => ({ ...lan, docker_network_id: undefined })).sort(byId),
    // These no operation knows.
    deckies: deckies.map((decky) => ({ ...decky, updated_at: undefined })).sort(byUuid),
    edges: [...edges].sort(byId),
  };
}

const byId = (one: { id: string }, other: { id: string }) => (one.id < other.id ? -1 : 1);
const byUuid = (one: { uuid: string }, other: { uuid: string }) => (one.uuid < other.uuid ? -1 : 1);
