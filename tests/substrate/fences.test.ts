import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { requestRotation } from '../../src/decky/fleet.ts';
import { editServices } from '../../src/decky/live-services.ts';
import { Rotator } from '../../src/decky/rotator.ts';
import { addService, configureService, serviceSetting } from '../../src/decky/service-edit.ts';
import { ClaimLost, type Substrate } from '../../src/substrate/substrate.ts';
import { requestTeardown } from '../../src/topology/lifecycle/lifecycle.ts';
import { LifecycleWorker } from '../../src/topology/lifecycle/lifecycle-worker.ts';
import { insertFleetDecky } from '../decky/support.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { createWorld, LEASE_MS, NOW, type World } from '../topology/mutator/support.ts';
import { bringUp, containersOf, dockerOf, pause, servicesOf, unfenced } from './docker-world.ts';
import { type FakeEngine, startFakeEngine } from './fake-engine.ts';

/** Each story is told twice: with the fence, and without it, when the harm must be done. */
const TELLINGS = [
  ['the successor stays as it was', true],
  ['negative control: without fences it does harm', false],
] as const;
/** After every claim that the sleeper had. */
const LATER = NOW + LEASE_MS + 1;

for (const database of ENGINES) {
  describe(`whoever slept past its claim (${database})`, () => {
    let world: World;
    let engine: FakeEngine;
    let docker: Substrate;
    const rotators: Rotator[] = [];
    beforeAll(async () => {
      world = await createWorld(database);
    });
    beforeEach(async () => {
      engine = await startFakeEngine();
      docker = dockerOf(engine);
      await world.db.updateTable('installation').set({ last_fence: 0 }).execute();
      await world.office();
      await bringUp(world, engine);
    });
    afterEach(async () => {
      await Promise.all(rotators.splice(0).map((rotator) => rotator.stop()));
      for (const table of ['fleet_deckies', 'decky_lifecycle'] as const) await world.db.deleteFrom(table).execute();
      await world.clear();
      await engine.stop();
    });
    afterAll(() => world.dispose());

    const fencedIf = (isFenced: boolean, substrate: Substrate) => (isFenced ? substrate : unfenced(substrate));
    /** How somebody's work ended, once it is over. */
    const endOf = (work: Promise<unknown>) =>
      work.then(
        () => 'done',
        (error) => error,
      );
    const rowOf = async (name: string) => {
      const decky = (await world.state()).deckies.find((one) => one.name === name);
      return decky?.services;
    };
    const changeServices = (services: string[]) => world.enqueue('update_decky', { decky: 'web', services });
    const applyLater = (substrate = docker) => world.applyNext({ substrate, now: () => LATER });

    test.each(TELLINGS)('a mutator that goes on: %s', async (_, isFenced) => {
      const sleep = pause();
      const asleep: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          await sleep.here();
          await docker.ensureDecky(decky, fence);
        },
      };
      await changeServices(['ftp']);
      const sleeper = endOf(world.applyNext({ substrate: fencedIf(isFenced, asleep) }));
      await sleep.reached;
      await applyLater();
      await changeServices(['http']);
      await applyLater();
      const [container] = containersOf(engine, 'web');
      engine.changes.length = 0;
      sleep.wake();
      const end = await sleeper;
      expect(await rowOf('web')).toEqual(['http']);
      if (isFenced) {
        expect(end).toBeInstanceOf(ClaimLost);
        expect(engine.changes).toEqual([]);
        expect(containersOf(engine, 'web')).toEqual(container === undefined ? [] : [container]);
        expect(servicesOf(engine, 'web')).toEqual(['http']);
      } else expect(servicesOf(engine, 'web')).toEqual(['ftp']);
    });

    test.each(TELLINGS)('a mutator that undoes: %s', async (_, isFenced) => {
      const sleep = pause();
      const failing: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          await docker.ensureDecky(decky, fence);
          if (await sleep.here()) throw new Error('the engine said no');
        },
      };
      const successorSleep = pause();
      const slow: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          await docker.ensureDecky(decky, fence);
          await successorSleep.here();
        },
      };
      await changeServices(['ftp']);
      const sleeper = endOf(world.applyNext({ substrate: fencedIf(isFenced, failing) }));
      await sleep.reached;
      // Its successor has brought the same about, and not yet committed it.
      const successor = applyLater(fencedIf(isFenced, slow));
      await successorSleep.reached;
      engine.changes.length = 0;
      sleep.wake();
      const end = await sleeper;
      successorSleep.wake();
      await successor;
      expect(await rowOf('web')).toEqual(['ftp']);
      if (isFenced) {
        expect(end).toBeInstanceOf(ClaimLost);
        expect(engine.changes).toEqual([]);
        expect(servicesOf(engine, 'web')).toEqual(['ftp']);
      } else expect(servicesOf(engine, 'web')).toEqual(['ssh']);
      expect(await world.mutations()).toMatchObject([{ state: 'applied', attempts: 2 }]);
    });

    test('a mutator in the middle of many steps: not one more', async () => {
      await world.enqueue('add_lan', { name: 'lab' });
      await world.applyNext({ substrate: docker });
      const sleep = pause();
      engine.intercept = async (call) => {
        if (call === 'POST /containers/create') await sleep.here();
        return undefined;
      };
      await world.enqueue('add_decky', { name: 'db', lan: 'lab' });
      const sleeper = endOf(world.applyNext({ substrate: docker }));
      // The engine itself is slow: what it was asked for in time it does, and then the successor is there.
      await sleep.reached;
      await applyLater();
      const running = [...engine.containers.values()];
      engine.changes.length = 0;
      sleep.wake();
      expect(await sleeper).toBeInstanceOf(ClaimLost);
      // Its container had another name's place; neither networks nor the start were touched.
      expect(engine.changes).toEqual([]);
      expect([...engine.containers.values()]).toEqual(running);
      expect(containersOf(engine, 'db')).toMatchObject([{ running: true, labels: { 'decnet.fence': String(LATER) } }]);
    });

    test('a mutator whose topology has been edited since commits nothing', async () => {
      const sleep = pause();
      const asleep: Substrate = {
        ...docker,
        async removeDecky(decky, fence) {
          await docker.removeDecky(decky, fence);
          await sleep.here();
        },
      };
      await world.enqueue('remove_decky', { decky: 'web' });
      const sleeper = endOf(world.applyNext({ substrate: asleep }));
      await sleep.reached;
      // Nobody has taken the mutation over, but its hold on the topology has run out: its clock is long past.
      await edit('web', 'http');
      expect(servicesOf(engine, 'web')).toEqual(['http,ssh']);
      sleep.wake();
      expect(await sleeper).toBeInstanceOf(ClaimLost);
      expect(await rowOf('web')).toEqual(['ssh', 'http']);
      expect(servicesOf(engine, 'web')).toEqual(['http,ssh']);
      await applyLater();
      expect([await rowOf('web'), servicesOf(engine, 'web')]).toEqual([undefined, []]);
    });

    const edit = (name: string, service: string, substrate: Substrate = docker) =>
      editServices(
        { db: world.db, substrate, logger: quiet, onCommitted: () => {} },
        { topologyId: 't1', name },
        addService(serviceSetting(service, {})),
      );
    const expireClaims = () => world.db.updateTable('substrate_claims').set({ expires_at: 0 }).execute();

    test.each(TELLINGS)('an edit whose decky has been removed since: %s', async (_, isFenced) => {
      const sleep = pause();
      const asleep: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          await sleep.here();
          await docker.ensureDecky(decky, fence);
        },
      };
      const sleeper = endOf(edit('web', 'http', fencedIf(isFenced, asleep)));
      await sleep.reached;
      await expireClaims();
      await world.enqueue('remove_decky', { decky: 'web' });
      await world.applyNext({ substrate: docker, now: Date.now });
      expect(containersOf(engine, 'web')).toEqual([]);
      sleep.wake();
      expect(await sleeper).toMatchObject(
        isFenced
          ? { code: 'conflict', message: 'Decky web stays as it was: others have changed its topology; try again' }
          : {},
      );
      expect(containersOf(engine, 'web')).toHaveLength(isFenced ? 0 : 1);
    });

    test('an edit that has changed its decky already: it is brought back, under a claim of its own', async () => {
      const sleep = pause();
      const asleep: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          await docker.ensureDecky(decky, fence);
          await sleep.here();
        },
      };
      const sleeper = endOf(edit('web', 'http', asleep));
      await sleep.reached;
      expect(servicesOf(engine, 'web')).toEqual(['http,ssh']);
      await expireClaims();
      await edit('gateway', 'ftp');
      sleep.wake();
      expect(await sleeper).toMatchObject({ code: 'conflict' });
      expect([await rowOf('web'), servicesOf(engine, 'web')]).toEqual([['ssh'], ['ssh']]);
      expect(servicesOf(engine, 'gateway')).toEqual(['ftp,ssh']);
    });

    test('an edit and a mutation at once: one waits for the other, and there is no orphan', async () => {
      const order: string[] = [];
      const sleep = pause();
      const slow: Substrate = {
        ...docker,
        async removeDecky(decky, fence) {
          await docker.removeDecky(decky, fence);
          order.push('the edit removes');
          await sleep.here();
        },
        async ensureDecky(decky, fence) {
          order.push('the edit makes anew');
          await docker.ensureDecky(decky, fence);
        },
      };
      const noting: Substrate = {
        ...docker,
        async removeDecky(decky, fence) {
          order.push('the mutation removes');
          await docker.removeDecky(decky, fence);
        },
      };
      const parts = { db: world.db, substrate: slow, logger: quiet, onCommitted: () => {} };
      const editing = editServices(
        parts,
        { topologyId: 't1', name: 'web' },
        configureService(serviceSetting('ssh', { user: 'a' }), true),
      );
      await sleep.reached;
      await world.enqueue('remove_decky', { decky: 'web' });
      const mutating = world.applyNext({ substrate: noting, now: Date.now });
      await until('the mutation to be claimed', async () => (await world.mutations())[0]?.state === 'applying');
      // Time enough for a mutation that would not wait.
      for (let round = 0; round < 20; round += 1) await world.mutations();
      sleep.wake();
      await Promise.all([editing, mutating]);
      expect(order).toEqual(['the edit removes', 'the edit makes anew', 'the mutation removes']);
      expect(await world.mutations()).toMatchObject([{ state: 'applied' }]);
      expect([await rowOf('web'), containersOf(engine, 'web')]).toEqual([undefined, []]);
    });

    test('a teardown waits for the mutation under way, and leaves nothing of it', async () => {
      const sleep = pause();
      const slow: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          await sleep.here();
          await docker.ensureDecky(decky, fence);
        },
      };
      await world.enqueue('add_decky', { name: 'db', lan: 'dmz' });
      const mutating = world.applyNext({ substrate: slow, now: Date.now });
      await sleep.reached;
      await requestTeardown(world.db, 't1');
      const removals: string[] = [];
      const noting: Substrate = {
        ...docker,
        async removeDecky(decky, fence) {
          removals.push(decky.name);
          await docker.removeDecky(decky, fence);
        },
      };
      const common = { db: world.db, substrate: noting, logger: quiet, onCommitted: () => {} };
      const worker = new LifecycleWorker({ ...common, pollMs: 20 });
      worker.start();
      try {
        // Time enough for a teardown that would not wait.
        for (let round = 0; round < 20; round += 1) await world.mutations();
        expect(removals).toEqual([]);
        sleep.wake();
        await mutating;
        await until('the teardown', async () => (await world.status()) === 'torn_down');
      } finally {
        await worker.stop();
      }
      expect([engine.containers.size, engine.networks.size]).toEqual([0, 0]);
      expect(await world.mutations()).toMatchObject([{ state: 'failed' }]);
    });

    test.each(TELLINGS)('a rotator that rolls back: %s', async (_, isFenced) => {
      await insertFleetDecky(world.db, 'edge-1');
      const id = await requestRotation(world.db, 'edge-1', 'alice', NOW);
      const sleep = pause();
      const failing: Substrate = {
        ...docker,
        async ensureDecky(decky, fence) {
          if (await sleep.here()) throw new Error('the engine said no');
          await docker.ensureDecky(decky, fence);
        },
      };
      const rotator = (substrate: Substrate, now: number) => {
        const made = new Rotator({
          db: world.db,
          substrate,
          logger: quiet,
          onCommitted: () => {},
          pollMs: 3_600_000,
          now: () => now,
        });
        rotators.push(made);
        made.start();
        return made;
      };
      const sleeper = rotator(fencedIf(isFenced, failing), NOW);
      await sleep.reached;
      rotator(docker, LATER);
      const done = await until('the successor', async () => {
        const row = await world.db.selectFrom('fleet_deckies').selectAll().executeTakeFirstOrThrow();
        return row.last_mutated_at !== null && row;
      });
      const services: string[] = JSON.parse(done.services);
      expect(servicesOf(engine, 'edge-1')).toEqual([services.join()]);
      engine.changes.length = 0;
      sleep.wake();
      await sleeper.stop();
      if (isFenced) {
        expect(engine.changes).toEqual([]);
        expect(servicesOf(engine, 'edge-1')).toEqual([services.join()]);
      } else expect(servicesOf(engine, 'edge-1')).toEqual(['http,ssh']);
      const lifecycle = await world.db.selectFrom('decky_lifecycle').selectAll().execute();
      expect(lifecycle).toMatchObject([{ id, status: 'succeeded', error: null }]);
    });
  });
}
