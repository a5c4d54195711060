import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { LOG_CHANNEL } from '../../../src/bus/channel.ts';
import { LifecycleWorker } from '../../../src/topology/lifecycle/lifecycle-worker.ts';
import { STATUSES } from '../../../src/topology/status.ts';
import { FIRST } from '../../stream/support.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../../support/database.ts';
import { until } from '../../support/until.ts';
import { recordingSubstrate } from '../recording-substrate.ts';
import { blank, detail, events, type Rest, restOf } from '../rest.ts';
import { asViewer, insertMutation, insertTopology } from '../support.ts';

for (const engine of ENGINES) {
  describe(`lifecycle (${engine})`, () => {
    let database: TestDatabase;
    let rest: Rest;
    let workers: LifecycleWorker[];

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      rest = restOf(database.db);
      workers = [];
    });
    afterEach(async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
      await database.dispose();
    });

    /** A worker that is stopped with the test; it looks every 20 ms unless it is told otherwise. */
    const work = (
      { substrate }: ReturnType<typeof recordingSubstrate>,
      times: { pollMs?: number; leaseMs?: number } = {},
    ) => {
      const worker = new LifecycleWorker({
        db: database.db,
        substrate,
        logger: quiet,
        onCommitted: () => {},
        pollMs: 20,
        ...times,
      });
      workers.push(worker);
      worker.start();
      return worker;
    };
    const post = (id: string, what: 'deploy' | 'teardown') => rest.call('POST', `/topologies/${id}/${what}`);
    const statusOf = async (id: string) => (await detail(rest, id)).topology.status;
    const become = (id: string, status: string) =>
      until(`${id} to become ${status}`, async () => (await statusOf(id)) === status);
    const told = async (id: string) =>
      (await events(database.db))
        .filter(({ topic }) => topic === `topology.${id}.status`)
        .map(({ payload }) => payload);
    const rows = (
      table:
        | 'topologies'
        | 'lans'
        | 'topology_deckies'
        | 'topology_edges'
        | 'topology_mutations'
        | 'topology_status_events',
    ) => database.db.selectFrom(table).selectAll().execute();
    /** What a topology needs at least to be deployed. */
    const insertDmz = (id: string) =>
      database.db
        .insertInto('lans')
        .values({ id: `dmz-${id}`, topology_id: id, name: 'dmz', subnet: '10.0.0.0/24', is_dmz: 1 })
        .execute();
    const claims = () => database.db.selectFrom('substrate_claims').select('thing').execute();
    /** A second LAN and a decky in it. */
    const furnish = async (id: string) => {
      const lan = await rest.call('POST', `/topologies/${id}/lans`, { name: 'office' });
      const decky = await rest.call('POST', `/topologies/${id}/deckies`, { name: 'desk', services: ['rdp'] });
      await rest.call('POST', `/topologies/${id}/edges`, { decky_uuid: decky.body.uuid, lan_id: lan.body.id });
    };

    test('a route makes the transition only, and answers with the topology as it was', async () => {
      const id = await blank(rest);
      const answer = await post(id, 'deploy');
      expect(answer).toMatchObject({ status: 202, body: { id, status: 'pending', version: 1 } });
      expect(await statusOf(id)).toBe('deploying');
      expect(await told(id)).toEqual([
        { state: 'pending', reason: null },
        { state: 'deploying', reason: null },
      ]);
      expect(rest.committed()).toBe(2);
      expect(await post(id, 'teardown')).toMatchObject({ status: 202, body: { status: 'deploying' } });
      expect(await statusOf(id)).toBe('tearing_down');
      expect((await detail(rest, id)).deckies.map(({ state }) => state)).toEqual(['tearing_down']);
      for (const what of ['deploy', 'teardown'] as const) expect((await post('none', what)).status).toBe(404);
      for (const what of ['deploy', 'teardown'] as const) expect((await post('%00', what)).status).toBe(404);
    });

    test('deploys, tears down and deletes from the statuses of the contract, and names any other', async () => {
      const allowed: Record<string, string[]> = { deploy: [], teardown: [], delete: [] };
      for (const status of STATUSES) {
        for (const what of ['deploy', 'teardown', 'delete']) {
          const id = `${what}-${status}`;
          await insertTopology(database.db, id, { status });
          await insertDmz(id);
          const method = what === 'delete' ? 'DELETE' : 'POST';
          const path = what === 'delete' ? `/topologies/${id}` : `/topologies/${id}/${what}`;
          const answer = await rest.call(method, path);
          if (answer.status !== 409) allowed[what]?.push(status);
          else expect(answer.body.detail).toContain(status);
        }
      }
      expect(allowed.deploy).toEqual(['pending']);
      expect(allowed.teardown?.sort()).toEqual(['active', 'degraded', 'deploying', 'failed']);
      expect(allowed.delete?.sort()).toEqual(['failed', 'pending', 'torn_down']);
    });

    test('deletes a topology with all its parts and its history', async () => {
      const id = await blank(rest);
      await furnish(id);
      await post(id, 'deploy');
      await insertMutation(database.db, id, 1);
      expect((await rest.call('DELETE', `/topologies/${id}`)).status).toBe(409);
      await database.db.updateTable('topologies').set({ status: 'failed' }).execute();
      expect(await rest.call('DELETE', `/topologies/${id}`)).toEqual({ status: 204, body: {} });
      for (const table of [
        'topologies',
        'lans',
        'topology_deckies',
        'topology_edges',
        'topology_mutations',
        'topology_status_events',
      ] as const) {
        expect(await rows(table)).toEqual([]);
      }
      expect((await rest.call('DELETE', `/topologies/${id}`)).status).toBe(404);
    });

    test('lets one of two simultaneous deployments through', async () => {
      const id = await blank(rest);
      const answers = await Promise.all([1, 2, 3].map(() => post(id, 'deploy')));
      expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409]);
      expect(await told(id)).toHaveLength(2);
    });

    test('is for admins', async () => {
      for (const [method, path] of [
        ['POST', 'x/deploy'],
        ['POST', 'x/teardown'],
        ['DELETE', 'x'],
      ] as const) {
        expect((await rest.call(method, `/topologies/${path}`, undefined, asViewer)).status).toBe(403);
        expect((await rest.call(method, `/topologies/${path}`, undefined, {})).status).toBe(401);
      }
    });

    test('brings up the networks, then the deckies, and tells that it is active', async () => {
      const recorded = recordingSubstrate();
      const id = await blank(rest);
      await furnish(id);
      work(recorded);
      await post(id, 'deploy');
      await become(id, 'active');
      expect(recorded.calls).toEqual([
        'ensureNetwork dmz',
        'ensureNetwork office',
        'ensureDecky desk',
        'ensureDecky dmz-gateway',
      ]);
      const { topology, deckies } = await detail(rest, id);
      expect(topology.version).toBe(1);
      expect(deckies.map(({ state, last_error }) => [state, last_error])).toEqual([
        ['running', null],
        ['running', null],
      ]);
      expect((await rows('lans')).map((lan) => 'docker_network_id' in lan && lan.docker_network_id).sort()).toEqual([
        'id of dmz',
        'id of office',
      ]);
      expect((await told(id)).map(({ state }) => state)).toEqual(['pending', 'deploying', 'active']);
      await until('the claim to be given back', async () => (await claims()).length === 0);
    });

    test.each<[string, (id: string) => Promise<unknown>]>([
      ['DMZ_MISSING', () => database.db.updateTable('lans').set({ is_dmz: 0 }).execute()],
      ['DMZ_MULTIPLE', (id) => rest.call('POST', `/topologies/${id}/lans`, { name: 'second', is_dmz: true })],
      ['DMZ_ORPHAN', (id) => orphanLan(id)],
      ['DECKY_ORPHAN', (id) => rest.call('POST', `/topologies/${id}/deckies`, { name: 'lost' })],
      ['SUBNET_MALFORMED', () => database.db.updateTable('lans').set({ subnet: 'x' }).execute()],
    ])('says %s instead of deploying, and leaves what was drawn to be mended', async (code, spoil) => {
      const id = await blank(rest);
      await spoil(id);
      const commits = rest.committed();
      const refused = await post(id, 'deploy');
      expect(refused).toEqual({ status: 409, body: { detail: expect.stringContaining(`${code} (`) } });
      expect(await statusOf(id)).toBe('pending');
      expect(await told(id)).toEqual([{ state: 'pending', reason: null }]);
      expect(await rows('topology_status_events')).toEqual([]);
      expect(rest.committed()).toBe(commits);
    });

    test('fails a deployment whose topology has become impossible since it was asked for', async () => {
      const recorded = recordingSubstrate();
      const id = await blank(rest);
      await post(id, 'deploy');
      await database.db.updateTable('lans').set({ is_dmz: 0 }).execute();
      work(recorded);
      await become(id, 'failed');
      expect((await told(id)).at(-1)).toEqual({ state: 'failed', reason: 'validation failed: DMZ_MISSING' });
      expect(recorded.calls).toEqual([]);
    });

    // DECNET's editor reads the topology once after the answer: it would show DEPLOYING until somebody reloads the page.
    test('answers a deployment when it is over', async () => {
      const patient = restOf(database.db, { deployWaitMs: 60_000 });
      const gate = Promise.withResolvers<void>();
      const recorded = recordingSubstrate(() => gate.promise);
      const id = await blank(rest);
      work(recorded);
      const order: string[] = [];
      const answered = patient.call('POST', `/topologies/${id}/deploy`).then(async (answer) => {
        order.push(await statusOf(id));
        return answer;
      });
      await until('the substrate to be asked', () => recorded.calls.length > 0);
      order.push(await statusOf(id));
      gate.resolve();
      expect(await answered).toMatchObject({ status: 202, body: { id, status: 'pending' } });
      expect(order).toEqual(['deploying', 'active']);
    });

    test('answers a deployment that takes long all the same', async () => {
      const patient = restOf(database.db, { deployWaitMs: 30 });
      const id = await blank(rest);
      expect((await patient.call('POST', `/topologies/${id}/deploy`)).status).toBe(202);
      expect(await statusOf(id)).toBe('deploying');
    });

    /** A LAN that the gateway has left. */
    const orphanLan = async (id: string) => {
      const lan = await rest.call('POST', `/topologies/${id}/lans`, { name: 'office' });
      const { edges } = await detail(rest, id);
      const edge = edges.find(({ lan_id }) => lan_id === lan.body.id);
      await rest.call('DELETE', `/topologies/${id}/edges/${edge?.id}`);
    };

    test('fails with the reason of the substrate, and leaves nothing running', async () => {
      const recorded = recordingSubstrate((call) => {
        if (call === 'ensureDecky dmz-gateway') throw new Error('no such image');
      });
      const id = await blank(rest);
      await furnish(id);
      work(recorded);
      await post(id, 'deploy');
      await become(id, 'failed');
      expect((await told(id)).at(-1)).toEqual({ state: 'failed', reason: 'deploy failed: no such image' });
      expect([...recorded.running]).toEqual([]);
      expect((await detail(rest, id)).deckies.map(({ name, state, last_error }) => [name, state, last_error])).toEqual([
        ['desk', 'pending', null],
        ['dmz-gateway', 'failed', 'deploy failed: no such image'],
      ]);
      await post(id, 'teardown');
      await become(id, 'torn_down');
    });

    test('takes down what runs, keeps on after a failure and says what stayed; the next attempt finishes', async () => {
      let stuck = true;
      const recorded = recordingSubstrate((call) => {
        if (stuck && call === 'removeDecky desk') throw new Error('in use');
      });
      const id = await blank(rest);
      await furnish(id);
      work(recorded);
      await post(id, 'deploy');
      await become(id, 'active');
      await post(id, 'teardown');
      await become(id, 'degraded');
      expect((await told(id)).at(-1)).toEqual({ state: 'degraded', reason: 'teardown failed: desk: in use' });
      expect([...recorded.running].sort()).toEqual(['decky desk', 'network dmz', 'network office']);
      expect((await detail(rest, id)).deckies.map(({ state, last_error }) => [state, last_error])).toEqual([
        ['teardown_failed', 'desk: in use'],
        ['torn_down', null],
      ]);
      stuck = false;
      await post(id, 'teardown');
      await become(id, 'torn_down');
      expect([...recorded.running]).toEqual([]);
      expect((await detail(rest, id)).deckies.map(({ state, last_error }) => [state, last_error])).toEqual([
        ['torn_down', null],
        ['torn_down', null],
      ]);
      expect((await told(id)).map(({ state }) => state).slice(3)).toEqual([
        'tearing_down',
        'degraded',
        'tearing_down',
        'torn_down',
      ]);
    });

    test('turns round when a teardown is asked for while it deploys', async () => {
      const gate = Promise.withResolvers<void>();
      const recorded = recordingSubstrate((call) => (call === 'ensureNetwork office' ? gate.promise : undefined));
      const id = await blank(rest);
      await furnish(id);
      work(recorded);
      await post(id, 'deploy');
      await until('the second network', () => recorded.calls.includes('ensureNetwork office'));
      expect((await post(id, 'teardown')).status).toBe(202);
      gate.resolve();
      await become(id, 'torn_down');
      expect(recorded.calls.some((call) => call.startsWith('ensureDecky'))).toBeFalse();
      expect([...recorded.running]).toEqual([]);
      expect((await told(id)).map(({ state }) => state)).toEqual(['pending', 'deploying', 'tearing_down', 'torn_down']);
    });

    test('works once for a topology however many workers there are', async () => {
      const recorded = recordingSubstrate();
      const ids = await Promise.all([1, 2, 3, 4, 5].map((number) => blank(rest, `t${number}`)));
      for (let count = 0; count < 3; count += 1) work(recorded);
      await Promise.all(ids.map((id) => post(id, 'deploy')));
      await Promise.all(ids.map((id) => become(id, 'active')));
      expect(recorded.calls.filter((call) => call.startsWith('ensureDecky'))).toHaveLength(5);
      for (const id of ids)
        expect((await told(id)).map(({ state }) => state)).toEqual(['pending', 'deploying', 'active']);
    });

    test('lets no slow topology delay another', async () => {
      const gate = Promise.withResolvers<void>();
      let first = true;
      const recorded = recordingSubstrate(() => {
        if (!first) return undefined;
        first = false;
        return gate.promise;
      });
      const [slow, quick] = [await blank(rest, 'slow'), await blank(rest, 'quick')];
      work(recorded);
      await post(slow, 'deploy');
      await until('the slow one', () => recorded.calls.length === 1);
      await post(quick, 'deploy');
      await become(quick, 'active');
      expect(await statusOf(slow)).toBe('deploying');
      gate.resolve();
      await become(slow, 'active');
    });

    test('takes up what a dead node has left, once its claim has run out', async () => {
      const recorded = recordingSubstrate();
      const id = await blank(rest);
      await post(id, 'deploy');
      const takenAt = Date.now();
      await database.db
        .insertInto('substrate_claims')
        .values({ thing: id, fence: 1, expires_at: takenAt + 300 })
        .execute();
      work(recorded);
      await become(id, 'active');
      expect(Date.now()).toBeGreaterThan(takenAt + 300);
      expect(recorded.calls).toEqual(['ensureNetwork dmz', 'ensureDecky dmz-gateway']);
    });

    test('keeps its claim as long as a step takes', async () => {
      const gate = Promise.withResolvers<void>();
      const recorded = recordingSubstrate(() => gate.promise);
      const id = await blank(rest);
      const times = { leaseMs: 200 };
      work(recorded, times);
      await post(id, 'deploy');
      await until('the first step', () => recorded.calls.length === 1);
      work(recorded, times);
      const begun = Date.now();
      // Three times as long as the lease lasts: the second worker has looked again and again.
      await until('the time', () => Date.now() > begun + 600);
      expect(recorded.calls).toHaveLength(1);
      gate.resolve();
      await become(id, 'active');
    });

    test('does and writes nothing more once another node has its claim', async () => {
      const gate = Promise.withResolvers<void>();
      const recorded = recordingSubstrate((call) => (call.startsWith('ensureDecky') ? gate.promise : undefined));
      const id = await blank(rest);
      const worker = work(recorded);
      await post(id, 'deploy');
      await until('the last step', () => recorded.calls.includes('ensureDecky dmz-gateway'));
      await database.db
        .updateTable('substrate_claims')
        .set({ fence: 1, expires_at: Date.now() + 3_600_000 })
        .where('thing', '=', id)
        .execute();
      gate.resolve();
      await worker.stop();
      expect(await statusOf(id)).toBe('deploying');
      expect((await told(id)).map(({ state }) => state)).toEqual(['pending', 'deploying']);
      expect(await claims()).toHaveLength(1);
    });

    test('stops between two steps; the next worker does it all again', async () => {
      const gate = Promise.withResolvers<void>();
      const recorded = recordingSubstrate(() => gate.promise);
      const id = await blank(rest);
      const worker = work(recorded);
      await post(id, 'deploy');
      await until('the first step', () => recorded.calls.length === 1);
      const stopping = worker.stop();
      gate.resolve();
      await stopping;
      expect(await statusOf(id)).toBe('deploying');
      expect(await claims()).toEqual([]);
      work(recorded);
      await become(id, 'active');
      expect(recorded.calls).toEqual(['ensureNetwork dmz', 'ensureNetwork dmz', 'ensureDecky dmz-gateway']);
    });

    test('tries again when its end could not be committed', async () => {
      const recorded = recordingSubstrate();
      const id = await blank(rest);
      await post(id, 'deploy');
      await database.db.schema.alterTable('outbox').renameTo('outbox_away').execute();
      work(recorded);
      await until('a second attempt', () => recorded.calls.length > 2);
      expect(await statusOf(id)).toBe('deploying');
      expect((await detail(rest, id)).deckies.map(({ state }) => state)).toEqual(['pending']);
      await database.db.schema.alterTable('outbox_away').renameTo('outbox').execute();
      await become(id, 'active');
      expect((await told(id)).map(({ state }) => state)).toEqual(['pending', 'deploying', 'active']);
    });

    test('is woken by a status event, by a break of the log and by hand', async () => {
      const recorded = recordingSubstrate();
      const worker = work(recorded, { pollMs: 3_600_000 });
      const entry = (topic: string) => ({ offset: 1, ...FIRST, id: 'e', topic, data: '{}', revision: 0 });
      const batch = (topic: string) => ({
        epoch: 'e',
        channel: LOG_CHANNEL,
        first: 1,
        last: 1,
        entries: [entry(topic)],
      });
      const wakes = [
        (id: string) => worker.listener.onBatch(batch(`topology.${id}.status`)),
        () => worker.listener.onBreak('other'),
        () => worker.wake(),
      ];
      for (const [index, wake] of wakes.entries()) {
        const id = await blank(rest, `t${index}`);
        await post(id, 'deploy');
        expect(await statusOf(id)).toBe('deploying');
        wake(id);
        await become(id, 'active');
      }
    });

    test('goes on by itself with what found no place beside the others', async () => {
      const ids: string[] = [];
      for (let number = 0; number < 10; number += 1) ids.push(await blank(rest, `t${number}`));
      await Promise.all(ids.map((id) => post(id, 'deploy')));
      // More than one worker takes at once, and nobody wakes it.
      work(recordingSubstrate(), { pollMs: 3_600_000 });
      await Promise.all(ids.map((id) => become(id, 'active')));
    });

    test('leaves to its agent what an agent runs', async () => {
      const recorded = recordingSubstrate();
      const id = await blank(rest, 'a');
      await database.db.updateTable('topologies').set({ mode: 'agent', target_host_uuid: 'h' }).execute();
      work(recorded);
      await post(id, 'deploy');
      await become(id, 'active');
      expect((await detail(rest, id)).deckies.map(({ state }) => state)).toEqual(['pending']);
      await post(id, 'teardown');
      await become(id, 'torn_down');
      expect(recorded.calls).toEqual([]);
    });
  });
}
