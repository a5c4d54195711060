import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { sql } from 'kysely';
import { Reconciler, type ReconcilerOptions } from '../../src/reconciler/reconciler.ts';
import { SubstrateClaim } from '../../src/substrate/claim.ts';
import { recordSubstrate } from '../../src/substrate/record.ts';
import { FLEET, type Substrate } from '../../src/substrate/substrate.ts';
import { createLog, type LogFields } from '../../src/telemetry/log.ts';
import { insertFleetDecky } from '../decky/support.ts';
import { bringUp, containersOf, dockerOf } from '../substrate/docker-world.ts';
import { type FakeEngine, refusal, startFakeEngine } from '../substrate/fake-engine.ts';
import { ENGINES } from '../support/database.ts';
import { openFence } from '../support/fence.ts';
import { until } from '../support/until.ts';
import { createWorld, type World } from '../topology/mutator/support.ts';

const GRACE_MS = 120_000;

for (const database of ENGINES) {
  describe(`reconciling the substrate with the rows (${database})`, () => {
    let world: World;
    let engine: FakeEngine;
    let docker: Substrate;
    let now: number;
    let lines: LogFields[];
    const reconcilers: Reconciler[] = [];
    beforeAll(async () => {
      world = await createWorld(database);
    });
    beforeEach(async () => {
      engine = await startFakeEngine();
      docker = dockerOf(engine);
      now = Date.now();
      engine.now = () => now;
      lines = [];
      await world.office();
      await bringUp(world, engine);
    });
    afterEach(async () => {
      await Promise.all(reconcilers.splice(0).map((made) => made.stop()));
      for (const table of ['leases', 'fleet_deckies'] as const) await world.db.deleteFrom(table).execute();
      await world.clear();
      await engine.stop();
    });
    afterAll(() => world.dispose());

    const reconciler = (options: Partial<ReconcilerOptions> = {}) => {
      const log = createLog('info', (line) => lines.push(JSON.parse(line)));
      const made = new Reconciler({ db: world.db, substrate: docker, logger: log, now: () => now, ...options });
      reconcilers.push(made);
      return made;
    };
    const grace = () => {
      now += GRACE_MS;
    };
    /** What is there, by name. */
    const there = () =>
      [...engine.containers.values(), ...engine.networks.values()].map(({ labels }) => labels['decnet.name']).sort();
    const ALL = ['desk', 'dmz', 'gateway', 'office', 'web'];
    const said = (message: string) => lines.filter((line) => line.message === message);
    const lab = { topologyId: 't1', lanId: 'lan-lab', name: 'lab', subnet: '10.9.0.0/24', isDmz: false };
    const orphan = (topologyId = 't1', uuid = 'uuid-gone', name = 'gone') => ({
      topologyId,
      uuid,
      name,
      services: ['ssh'],
      addresses: topologyId === 't1' ? [{ lanId: lab.lanId, ip: '10.9.0.5' }] : [],
      forwardsL3: false,
    });
    const makeOrphans = async (substrate = docker, fence = openFence(7)) => {
      await substrate.ensureNetwork(lab, fence);
      await substrate.ensureDecky(orphan(), fence);
    };

    test('removes what no row explains, the network after what is in it, and says so', async () => {
      await makeOrphans();
      grace();
      engine.changes.length = 0;
      await reconciler().reconcile();
      expect(there()).toEqual(ALL);
      expect(engine.changes).toEqual(['DELETE /containers/:id', 'DELETE /networks/:id']);
      expect(said('removed what no row explains')).toMatchObject([
        { level: 'warn', kind: 'decky', topology: 't1', name: 'gone', fence: 7 },
        { level: 'warn', kind: 'network', topology: 't1', name: 'lab', fence: 7 },
      ]);
      expect(await world.db.selectFrom('substrate_claims').selectAll().execute()).toEqual([]);
    });

    test('leaves alone what rows explain, whatever is happening to the topology', async () => {
      grace();
      engine.changes.length = 0;
      for (const status of ['deploying', 'active', 'degraded', 'tearing_down']) {
        await world.db.updateTable('topologies').set({ status }).execute();
        await reconciler().reconcile();
      }
      expect(there()).toEqual(ALL);
      expect(engine.changes).toEqual([]);
      expect(lines).toEqual([]);
    });

    test.each(['pending', 'failed', 'torn_down'])('removes what runs of a topology that is %s', async (status) => {
      await world.db.updateTable('topologies').set({ status }).execute();
      grace();
      await reconciler().reconcile();
      expect(there()).toEqual([]);
    });

    test('removes what a deleted topology, and one that an agent runs, have left', async () => {
      await docker.ensureDecky(orphan('deleted', 'uuid-d', 'left'), openFence());
      await world.db.updateTable('topologies').set({ mode: 'agent' }).execute();
      grace();
      await reconciler().reconcile();
      expect(there()).toEqual([]);
    });

    test('leaves alone what is young, for the claim may be as young', async () => {
      await makeOrphans();
      const made = reconciler();
      now += GRACE_MS - 1000;
      await made.reconcile();
      expect(there()).toEqual([...ALL, 'gone', 'lab'].sort());
      now += 1000;
      await made.reconcile();
      expect(there()).toEqual(ALL);
    });

    test("leaves alone what is another installation's, and what is nobody's that we know", async () => {
      const other = dockerOf(engine, 'other-install');
      await makeOrphans(other);
      await other.ensureDecky(orphan(FLEET, 'edge-1', 'edge-1'), openFence());
      engine.containers.set('x', {
        id: 'x',
        name: 'postgres',
        image: 'postgres:17',
        env: [],
        sysctls: {},
        labels: { 'com.example': 'db', 'decnet.topology': 't1', 'decnet.decky': 'uuid-gone' },
        addresses: new Map(),
        createdAt: 0,
        running: true,
      });
      grace();
      engine.changes.length = 0;
      await reconciler().reconcile();
      expect(engine.changes).toEqual([]);
      // Nor do the two get into each other's way by name.
      await docker.ensureDecky(orphan(FLEET, 'edge-1', 'edge-1'), openFence());
      expect(containersOf(engine, 'edge-1')).toHaveLength(2);
    });

    test('leaves alone what is claimed, and comes back for it', async () => {
      await makeOrphans();
      grace();
      const made = reconciler();
      const claim = await SubstrateClaim.take(world.db, 't1', { now: () => now });
      await made.reconcile();
      expect(there()).toEqual([...ALL, 'gone', 'lab'].sort());
      await claim?.release();
      await made.reconcile();
      expect(there()).toEqual(ALL);
    });

    test('touches nothing that has been made under a later claim than its own', async () => {
      await makeOrphans(docker, openFence(now + 1_000_000_000));
      grace();
      await reconciler().reconcile();
      expect(there()).toEqual([...ALL, 'gone', 'lab'].sort());
      expect(said('what no row explains could not be removed')).toHaveLength(1);
    });

    test('looks at the rows once more when nobody else can change them', async () => {
      if (database !== 'sqlite') return;
      await world.db.updateTable('topologies').set({ status: 'pending' }).execute();
      grace();
      // Somebody has deployed it between the first look and the claim.
      await sql`create trigger meanwhile after insert on substrate_claims
        begin update topologies set status = 'active'; end`.execute(world.db);
      await reconciler().reconcile();
      await sql`drop trigger meanwhile`.execute(world.db);
      expect(there()).toEqual(ALL);
    });

    test('knows the fleet by host and name', async () => {
      await insertFleetDecky(world.db, 'edge-1');
      await insertFleetDecky(world.db, 'edge-2', { host_uuid: null });
      await insertFleetDecky(world.db, 'edge-3', { host_uuid: 'moved' });
      for (const [uuid, name] of [
        ['host-1:edge-1', 'edge-1'],
        ['edge-2', 'edge-2'],
        ['host-1:edge-3', 'edge-3'],
        ['edge-4', 'edge-4'],
      ] as const) {
        await docker.ensureDecky(orphan(FLEET, uuid, name), openFence());
      }
      grace();
      await reconciler().reconcile();
      expect(there()).toEqual([...ALL, 'edge-1', 'edge-2'].sort());
    });

    test('goes on with the others when the engine refuses one', async () => {
      await makeOrphans();
      await docker.ensureDecky(orphan('deleted', 'uuid-d', 'left'), openFence());
      grace();
      const made = reconciler();
      let refusals = 0;
      engine.intercept = (call) => {
        if (call !== 'DELETE /containers/:id' || refusals > 0) return undefined;
        refusals += 1;
        return refusal(500, 'the engine said no');
      };
      await made.reconcile();
      expect(there().length).toBeGreaterThan(ALL.length);
      expect(there().length).toBeLessThan(ALL.length + 3);
      expect(said('what no row explains could not be removed')[0]?.error).toBe(
        "docker could not remove the decky 'gone': the engine said no",
      );
      await made.reconcile();
      expect(there()).toEqual(ALL);
    });

    test('survives an engine that is away, and goes on by itself when it is back', async () => {
      await makeOrphans();
      grace();
      engine.intercept = () => refusal(503, 'starting');
      reconciler({ intervalMs: 10 }).start();
      await until('a failure', () => said('the substrate could not be reconciled; it is tried again').length > 0);
      engine.intercept = undefined;
      await until('the orphans to go', () => there().length === ALL.length);
    });

    test('works on one node at a time; another takes over when that one stops', async () => {
      let looks = 0;
      engine.intercept = (call) => {
        if (call === 'GET /containers/json') looks += 1;
        return undefined;
      };
      const first = reconciler({ intervalMs: 3_600_000 });
      first.start();
      await until('the first look', () => looks === 1);
      const second = reconciler({ intervalMs: 3_600_000 });
      second.start();
      for (let round = 0; round < 5; round += 1) {
        second.wake();
        await world.mutations();
      }
      expect(looks).toBe(1);
      await first.stop();
      second.wake();
      await until('the second to look', () => looks === 2);
    });

    test('tells once of what should run and does not, after it was missing twice', async () => {
      const made = reconciler();
      const missing = () => said('deckies that should run do not').map(({ count, deckies }) => [count, deckies]);
      for (const container of containersOf(engine, 'web')) container.running = false;
      engine.containers.delete(containersOf(engine, 'desk')[0]?.id ?? '');
      await insertFleetDecky(world.db, 'never-rotated');
      await insertFleetDecky(world.db, 'edge-1', { last_mutated_at: '2026-11-21T08:00:00.000Z' });
      await made.reconcile();
      expect(missing()).toEqual([]);
      for (let pass = 0; pass < 3; pass += 1) await made.reconcile();
      expect(missing()).toEqual([[3, 'desk (t1), web (t1), edge-1 (fleet)']]);
      await bringUp(world, engine);
      await made.reconcile();
      engine.containers.delete(containersOf(engine, 'web')[0]?.id ?? '');
      for (let pass = 0; pass < 3; pass += 1) await made.reconcile();
      expect(missing().slice(1)).toEqual([[1, 'web (t1)']]);
      // It tells, and makes nothing again.
      expect(containersOf(engine, 'web')).toEqual([]);
    });

    test('compares more than fits into one page', async () => {
      const many = Array.from({ length: 1100 }, (_, index) => `edge-${String(index).padStart(4, '0')}`);
      const row = { host_uuid: null, archetype: 'a', updated_at: 'x', state: 'running', last_mutated_at: 'x' };
      for (let start = 0; start < many.length; start += 100) {
        const names = many.slice(start, start + 100);
        await world.db
          .insertInto('fleet_deckies')
          .values(
            names.map((name) => ({
              ...row,
              name,
              mutate_interval: null,
              next_due_at: null,
              services: '[]',
              service_pool: '[]',
            })),
          )
          .execute();
      }
      const objects = [...many, 'gone'].map((name) => ({
        kind: 'decky' as const,
        id: `id of ${name}`,
        topologyId: FLEET,
        of: name,
        name,
        fence: 1,
        createdAt: 0,
        isRunning: name !== 'edge-1050',
      }));
      const removed: string[] = [];
      const substrate: Substrate = {
        ...recordSubstrate,
        owned: async () => objects,
        removeOwned: async ({ id }) => void removed.push(id),
      };
      await world.db.updateTable('topologies').set({ status: 'pending' }).execute();
      const made = reconciler({ substrate });
      for (let pass = 0; pass < 2; pass += 1) await made.reconcile();
      expect(removed).toEqual(['id of gone', 'id of gone']);
      expect(said('deckies that should run do not')).toMatchObject([{ count: 1, deckies: 'edge-1050 (fleet)' }]);
    });

    test('has nothing to do where nothing runs', async () => {
      let looks = 0;
      const substrate: Substrate = {
        ...recordSubstrate,
        owned: async () => {
          looks += 1;
          return [];
        },
      };
      const made = reconciler({ substrate, intervalMs: 1 });
      made.start();
      await made.stop();
      expect(looks).toBe(0);
    });
  });
}
