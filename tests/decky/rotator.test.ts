import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { LOG_CHANNEL } from '../../src/bus/channel.ts';
import type { JsonObject } from '../../src/bus/event.ts';
import { listLifecycle, requestRotation, setMutateInterval } from '../../src/decky/fleet.ts';
import { claimRotation, finishRotation } from '../../src/decky/rotation-claim.ts';
import { Rotator, type RotatorOptions } from '../../src/decky/rotator.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { FIRST } from '../stream/support.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { insertFleetDecky, NOON, type SpySubstrate, spySubstrate, told } from './support.ts';

const MINUTE = 60_000;

for (const engine of ENGINES) {
  describe(`rotating fleet deckies (${engine})`, () => {
    let database: TestDatabase;
    let substrate: SpySubstrate;
    let rotators: Rotator[];
    let now: number;
    let commits: number;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      substrate = spySubstrate();
      rotators = [];
      now = NOON;
      commits = 0;
    });
    afterEach(async () => {
      await Promise.all(rotators.map((rotator) => rotator.stop()));
      await database.dispose();
    });

    /** A rotator that looks only when it is woken, unless told otherwise. */
    const rotator = (options: Partial<RotatorOptions> = {}) => {
      const made = new Rotator({
        db: database.db,
        substrate,
        logger: quiet,
        onCommitted: () => (commits += 1),
        pollMs: 3_600_000,
        now: () => now,
        ...options,
      });
      rotators.push(made);
      made.start();
      return made;
    };
    const request = (name = 'edge-1') => requestRotation(database.db, name, 'alice', now);
    const fleetDecky = (name = 'edge-1') =>
      database.db.selectFrom('fleet_deckies').selectAll().where('name', '=', name).executeTakeFirstOrThrow();
    const requests = () =>
      database.db.selectFrom('decky_lifecycle').selectAll().orderBy('started_at').orderBy('id').execute();
    const untilDone = (...ids: string[]) =>
      until('the requests to be done with', async () => {
        const rows = await listLifecycle(database.db, ids);
        return rows.length === ids.length && rows.every((row) => row.completed_at !== null) && rows;
      });
    const untilAllDone = () =>
      until('all requests to be done with', async () => {
        const rows = await requests();
        return rows.length > 0 && rows.every((row) => row.completed_at !== null) && rows;
      });
    const mutations = async () =>
      (await told(database.db)).filter(({ type }) => type === 'mutation').map(({ payload }) => payload);
    /** Lets a rotator hear an event of the log. */
    const hear = (made: Rotator, topic: string, id: string = crypto.randomUUID(), payload: JsonObject = {}) => {
      const entry = {
        offset: 1,
        ...FIRST,
        id,
        topic,
        data: JSON.stringify({ topic, type: '', ts: 1, payload }),
        revision: 0,
      };
      made.listener.onBatch({ epoch: 'e', channel: LOG_CHANNEL, first: 1, last: 1, entries: [entry] });
    };

    test('a request is carried out: substrate, row, lifecycle and events agree', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const id = await request();
      rotator();
      const [row] = await untilDone(id);
      const after = await fleetDecky();
      const services: string[] = JSON.parse(after.services);
      expect(services).not.toEqual(['http', 'ssh']);
      expect(substrate.running.get('edge-1')).toEqual({
        topologyId: 'fleet',
        uuid: 'host-1:edge-1',
        name: 'edge-1',
        services,
        addresses: [],
        forwardsL3: false,
      });
      const noon = new Date(NOON).toISOString();
      expect(after).toMatchObject({ state: 'running', last_mutated_at: noon, next_due_at: null, updated_at: noon });
      expect(row).toMatchObject({ status: 'succeeded', error: null, updated_at: noon, completed_at: noon });
      const lifecycle = { topic: 'decky.edge-1.lifecycle', type: 'lifecycle' };
      expect(await told(database.db)).toEqual([
        { ...lifecycle, payload: { lifecycle_id: id, operation: 'mutate', status: 'running' } },
        {
          topic: 'decky.edge-1.mutation',
          type: 'mutation',
          payload: {
            decky: 'edge-1',
            old_services: ['http', 'ssh'],
            new_services: services,
            trigger: 'operator',
            actor: 'alice',
          },
        },
        { ...lifecycle, payload: { lifecycle_id: id, operation: 'mutate', status: 'succeeded' } },
      ]);
      expect(commits).toBe(2);
    });

    test('"running" is told before the substrate is asked', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const id = await request();
      let seen: unknown;
      substrate.beforeEnsure = async () => {
        seen = [(await told(database.db)).map(({ payload }) => payload.status), (await requests())[0]?.status];
      };
      rotator();
      await untilDone(id);
      expect(seen).toEqual([['running'], 'running']);
    });

    test('a request heard on the bus is acted on at once, without any interval', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const made = rotator();
      hear(made, 'decky.edge-1.mutate_request');
      const [row] = await untilAllDone();
      expect(row).toMatchObject({ decky_name: 'edge-1', status: 'succeeded', trigger: 'operator', actor: null });
      expect(await mutations()).toEqual([
        {
          decky: 'edge-1',
          old_services: ['http', 'ssh'],
          new_services: JSON.parse((await fleetDecky()).services),
          trigger: 'operator',
        },
      ]);
    });

    test('the topic says which decky, and the payload only where the topic does not', async () => {
      for (const name of ['edge-1', 'edge-2', 'edge-3']) await insertFleetDecky(database.db, name);
      const made = rotator();
      hear(made, 'decky.edge-1.mutate_request', 'a', { name: 'edge-3' });
      hear(made, 'decky..mutate_request', 'b', { name: 'edge-2' });
      hear(made, 'decky..mutate_request', 'c', {});
      hear(made, 'decky.edge-3.mutation', 'd', {});
      const rows = await until('two rotations', async () => {
        const done = await requests();
        return done.length === 2 && done.every((row) => row.completed_at !== null) && done;
      });
      expect(rows.map(({ decky_name }) => decky_name).sort()).toEqual(['edge-1', 'edge-2']);
    });

    test('a request for a decky that nobody knows harms nobody', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const made = rotator();
      hear(made, 'decky.none.mutate_request');
      hear(made, 'decky.edge-1.mutate_request');
      const rows = await untilAllDone();
      expect(rows.map(({ decky_name }) => decky_name)).toEqual(['edge-1']);
    });

    test('one event that several nodes hear, some late, is one rotation', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const [first, second] = [rotator(), rotator()];
      const id = crypto.randomUUID();
      hear(first, 'decky.edge-1.mutate_request', id);
      await untilAllDone();
      hear(second, 'decky.edge-1.mutate_request', id);
      // What it hears next shows that it has dealt with the former.
      await insertFleetDecky(database.db, 'edge-2');
      hear(second, 'decky.edge-2.mutate_request');
      await until('the next one', async () => (await requests()).length === 2 && untilAllDone());
      expect((await mutations()).map(({ decky }) => decky)).toEqual(['edge-1', 'edge-2']);
    });

    test('requests that wait together are one rotation, and each is answered', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const ids = [await request(), await request(), await request()];
      rotator();
      const rows = await untilDone(...ids);
      expect(rows.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded']);
      expect(await mutations()).toHaveLength(1);
      expect(substrate.calls).toHaveLength(1);
      const states = (await told(database.db)).filter(({ type }) => type === 'lifecycle');
      expect(states.map(({ payload }) => payload.lifecycle_id).sort()).toEqual([...ids, ...ids].sort());
    });

    test('a request during a rotation is another rotation', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const first = await request();
      const begun = Promise.withResolvers<void>();
      const gate = Promise.withResolvers<void>();
      substrate.beforeEnsure = () => {
        begun.resolve();
        return gate.promise;
      };
      const made = rotator();
      await begun.promise;
      const second = await request();
      made.wake();
      gate.resolve();
      await untilDone(first, second);
      const [one, two] = await mutations();
      expect(two?.old_services).toEqual(one?.new_services);
    });

    test('several nodes: every decky is rotated once, and work is shared by claims', async () => {
      const names = Array.from({ length: 12 }, (_, index) => `edge-${index + 10}`);
      for (const name of names) await insertFleetDecky(database.db, name);
      const ids = await Promise.all(names.map(request));
      for (let node = 0; node < 4; node += 1) rotator();
      await untilDone(...ids);
      expect((await mutations()).map(({ decky }) => String(decky)).sort()).toEqual(names);
      expect(substrate.calls.map((call) => call.split(' ')[1] ?? '').sort()).toEqual(names);
    });

    test('a slow decky keeps no other waiting', async () => {
      await insertFleetDecky(database.db, 'slow');
      await insertFleetDecky(database.db, 'quick');
      const gate = Promise.withResolvers<void>();
      substrate.beforeEnsure = ({ name }) => (name === 'slow' ? gate.promise : undefined);
      const slow = await request('slow');
      now += 1;
      const quick = await request('quick');
      rotator();
      await untilDone(quick);
      expect((await listLifecycle(database.db, [slow]))[0]?.status).toBe('running');
      gate.resolve();
      await untilDone(slow);
    });

    describe('when it fails', () => {
      test('the decky stays as it was, the substrate too, and the reason is told', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const before = await fleetDecky();
        substrate.beforeEnsure = ({ services }) => {
          if (services.join() !== 'http,ssh') throw new Error(`no\0 image ${'x'.repeat(3000)}`);
        };
        const id = await request();
        rotator();
        const [row] = await untilDone(id);
        expect(row?.status).toBe('failed');
        expect(row?.error).toHaveLength(2000);
        expect(row?.error).toStartWith('no image xxx');
        expect(await fleetDecky()).toEqual({ ...before, updated_at: new Date(NOON).toISOString() });
        expect(substrate.running.get('edge-1')?.services).toEqual(['http', 'ssh']);
        expect((await told(database.db)).map(({ payload }) => payload)).toEqual([
          { lifecycle_id: id, operation: 'mutate', status: 'running' },
          { lifecycle_id: id, operation: 'mutate', status: 'failed', error: row?.error ?? '' },
        ]);
      });

      test('a decky that cannot be brought back is degraded, and runs again after the next success', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        substrate.beforeEnsure = () => {
          throw new Error('docker is away');
        };
        const id = await request();
        const made = rotator();
        const [row] = await untilDone(id);
        expect(row?.error).toBe('docker is away; bringing back the services from before failed too: docker is away');
        substrate.beforeEnsure = () => {};
        await untilDone(await request().finally(() => made.wake()));
        const states = (await told(database.db)).filter(({ type }) => type === 'state');
        const common = { host_uuid: 'host-1', name: 'edge-1', transition: 'state_changed', source: 'fleet' };
        expect(states).toEqual([
          {
            topic: 'decky.host-1:edge-1.state',
            type: 'state',
            payload: { ...common, state: 'degraded', previous_state: 'running' },
          },
          {
            topic: 'decky.host-1:edge-1.state',
            type: 'state',
            payload: { ...common, state: 'running', previous_state: 'degraded' },
          },
        ]);
        expect((await fleetDecky()).state).toBe('running');
      });

      test.each([
        ['has nothing to rotate to', { service_pool: '[]' }, 'No services available to mutate edge-1'],
        ['has gone', undefined, 'Decky edge-1 not found'],
      ])('a decky that %s: the request says so', async (_, change, error) => {
        await insertFleetDecky(database.db, 'edge-1');
        const id = await request();
        if (change === undefined) await database.db.deleteFrom('fleet_deckies').execute();
        else await database.db.updateTable('fleet_deckies').set(change).execute();
        rotator();
        expect(await untilDone(id)).toMatchObject([{ status: 'failed', error }]);
        expect((await told(database.db)).map(({ payload }) => payload)).toEqual([
          { lifecycle_id: id, operation: 'mutate', status: 'failed', error },
        ]);
        expect(substrate.calls).toEqual([]);
      });

      test('a database that is away for a moment: what was heard is not forgotten', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        await database.db.schema.alterTable('decky_lifecycle').renameTo('gone').execute();
        let failures = 0;
        const made = rotator({ logger: createLog('warn', () => (failures += 1)) });
        hear(made, 'decky.edge-1.mutate_request');
        await until('a failure', () => failures > 0);
        await database.db.schema.alterTable('gone').renameTo('decky_lifecycle').execute();
        made.wake();
        await untilAllDone();
      });
    });

    describe('crashes', () => {
      const terms = (claim: string) => ({ claim, now, leaseMs: 30_000, random: Math.random });

      test('what a dead node had claimed is done by another, with the services that were chosen', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const id = await request();
        const dead = await claimRotation(database.db, 'edge-1', terms('dead'));
        if (dead === undefined || dead === 'refused') throw new Error('the claim must succeed');
        const later = await request();
        const made = rotator();
        // Its claim still holds: neither that request nor the next is touched.
        now += 29_999;
        made.wake();
        await insertFleetDecky(database.db, 'edge-2');
        await untilDone(await request('edge-2').finally(() => made.wake()));
        expect((await listLifecycle(database.db, [id]))[0]).toMatchObject({ status: 'running', claimed_by: 'dead' });
        now += 1;
        made.wake();
        await untilDone(id, later);
        expect(JSON.parse((await fleetDecky()).services)).toEqual(dead.newServices);
        const about = (await told(database.db)).filter(({ topic }) => topic.startsWith('decky.edge-1.'));
        // "running" once for each request, though the first was begun twice.
        const statuses = about.map(({ payload }) => payload.status ?? payload.new_services);
        expect(statuses).toEqual(['running', 'running', dead.newServices, 'succeeded', 'succeeded']);
      });

      test('one who comes back after losing the claim changes nothing', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const id = await request();
        const late = await claimRotation(database.db, 'edge-1', terms('late'));
        if (late === undefined || late === 'refused') throw new Error('the claim must succeed');
        now += 30_000;
        rotator();
        await untilDone(id);
        const [before, events] = [await fleetDecky(), await told(database.db)];
        expect(await finishRotation(database.db, late, { kind: 'succeeded' }, now, null)).toBe(false);
        const failed = { kind: 'failed', error: 'late', state: 'degraded' } as const;
        expect(await finishRotation(database.db, late, failed, now, null)).toBe(false);
        expect(await fleetDecky()).toEqual(before);
        expect(await told(database.db)).toEqual(events);
      });

      test('of two who claim at once one wins', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        await request();
        const claims = await Promise.all(
          ['a', 'b', 'c'].map((claim) => claimRotation(database.db, 'edge-1', terms(claim))),
        );
        expect(claims.filter((claim) => claim !== undefined)).toHaveLength(1);
      });

      test('a rotation that takes longer than its lease keeps its claim', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const id = await request();
        const gate = Promise.withResolvers<void>();
        substrate.beforeEnsure = () => gate.promise;
        const leaseMs = 300;
        rotator({ now: Date.now, leaseMs });
        rotator({ now: Date.now, leaseMs, pollMs: 10 });
        const first = await until('the claim', async () => (await requests())[0]?.claim_expires_at);
        await until('two leases to pass', () => Date.now() > first + leaseMs);
        expect(substrate.calls).toHaveLength(1);
        gate.resolve();
        await untilDone(id);
        expect(await mutations()).toHaveLength(1);
      });

      test('stopping finishes what is under way and begins nothing more', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const id = await request();
        const begun = Promise.withResolvers<void>();
        const gate = Promise.withResolvers<void>();
        substrate.beforeEnsure = () => {
          begun.resolve();
          return gate.promise;
        };
        const made = rotator();
        await begun.promise;
        const next = await request();
        let isStopped = false;
        const stopped = made.stop().then(() => {
          isStopped = true;
        });
        // Time enough for a stop that would not wait.
        for (let round = 0; round < 20; round += 1) await requests();
        expect(isStopped).toBe(false);
        gate.resolve();
        await stopped;
        const rows = await listLifecycle(database.db, [id, next]);
        expect(new Map(rows.map((row) => [row.id, row.status]))).toEqual(
          new Map([
            [id, 'succeeded'],
            [next, 'pending'],
          ]),
        );
      });
    });

    describe('by schedule', () => {
      const due = async (name = 'edge-1') => (await fleetDecky(name)).next_due_at;
      const at = (ms: number) => new Date(ms).toISOString();

      test('a decky is rotated when its interval has passed, again and again', async () => {
        await insertFleetDecky(database.db, 'edge-1', { mutate_interval: '30m' });
        const made = rotator();
        await until('its due time', async () => (await due()) === at(NOON + 30 * MINUTE));
        for (const round of [1, 2]) {
          now = NOON + round * 30 * MINUTE;
          made.wake();
          await until(`rotation ${round}`, async () => (await mutations()).length === round);
          expect(await due()).toBe(at(now + 30 * MINUTE));
        }
        expect(await mutations()).toMatchObject([{ trigger: 'scheduled' }, { trigger: 'scheduled' }]);
        expect((await mutations())[0]).not.toContainKey('actor');
      });

      test('not a moment before', async () => {
        await insertFleetDecky(database.db, 'edge-1', { next_due_at: at(NOON + 1), mutate_interval: '1h' });
        await insertFleetDecky(database.db, 'edge-2', { next_due_at: at(NOON), mutate_interval: '1h' });
        rotator();
        await until('the one that is due', async () => (await mutations()).length === 1);
        expect(await mutations()).toMatchObject([{ decky: 'edge-2' }]);
        expect((await requests()).map(({ decky_name }) => decky_name)).toEqual(['edge-2']);
      });

      test('the fleet has an interval for those without one of their own', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        await insertFleetDecky(database.db, 'edge-2', { mutate_interval: '2h' });
        rotator({ fleetIntervalMs: async () => 10 * MINUTE });
        await until('due times', async () => (await due('edge-2')) !== null);
        expect(await due()).toBe(at(NOON + 10 * MINUTE));
        expect(await due('edge-2')).toBe(at(NOON + 120 * MINUTE));
      });

      test('it wakes by itself when one is due', async () => {
        await insertFleetDecky(database.db, 'edge-1', {
          mutate_interval: '1h',
          next_due_at: at(Date.now() + 200),
        });
        rotator({ now: Date.now });
        await until('the rotation', async () => (await mutations()).length === 1);
      });

      test('a shorter interval counts from the last rotation', async () => {
        await insertFleetDecky(database.db, 'edge-1', {
          mutate_interval: '5d',
          last_mutated_at: at(NOON - 20 * MINUTE),
          next_due_at: at(NOON + 7200 * MINUTE),
        });
        const made = rotator();
        await setMutateInterval(database.db, 'edge-1', '30m', now);
        made.wake();
        await until('its due time', async () => (await due()) === at(NOON + 10 * MINUTE));
        await setMutateInterval(database.db, 'edge-1', '5m', now);
        made.wake();
        await until('the rotation', async () => (await mutations()).length === 1);
      });

      test('one that has lost its interval is left alone', async () => {
        await insertFleetDecky(database.db, 'edge-1', { next_due_at: at(NOON - 1) });
        rotator();
        await until('no due time', async () => (await due()) === null);
        expect(await requests()).toEqual([]);
      });

      test('several nodes that find one due queue it once', async () => {
        await insertFleetDecky(database.db, 'edge-1', { mutate_interval: '30m', next_due_at: at(NOON) });
        for (let node = 0; node < 4; node += 1) rotator();
        await untilAllDone();
        await Promise.all(rotators.map((made) => made.stop()));
        expect(await mutations()).toHaveLength(1);
        expect(await requests()).toHaveLength(1);
      });

      test('a failed one comes again after the interval, not at once', async () => {
        await insertFleetDecky(database.db, 'edge-1', { mutate_interval: '30m', next_due_at: at(NOON) });
        substrate.beforeEnsure = () => {
          throw new Error('no');
        };
        rotator();
        await untilAllDone();
        expect(await due()).toBe(at(NOON + 30 * MINUTE));
        expect(await requests()).toHaveLength(1);
      });

      test('what was done with long ago is forgotten', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const made = rotator();
        const old = await request();
        made.wake();
        await untilDone(old);
        now += 31 * 24 * 60 * MINUTE;
        const id = await request();
        made.wake();
        await untilDone(id);
        expect((await requests()).map((row) => row.id)).toEqual([id]);
      });
    });
  });
}
