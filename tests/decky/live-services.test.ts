import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { serviceRoutes } from '../../src/decky/service-routes.ts';
import { checkInvariants } from '../../src/topology/invariants.ts';
import { lockTopology } from '../../src/topology/lock.ts';
import { loadState } from '../../src/topology/state.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { asViewer, authenticator, insertTopology, shell } from '../topology/support.ts';
import { type SpySubstrate, send, spySubstrate, told } from './support.ts';

const WEB = '/topologies/t1/deckies/web/services';

for (const engine of ENGINES) {
  describe(`services of a live decky (${engine})`, () => {
    let database: TestDatabase;
    let substrate: SpySubstrate;
    let commits: number;
    let handle: (request: Request) => Promise<Response>;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      substrate = spySubstrate();
      commits = 0;
      const { db } = database;
      const app = shell().use(
        serviceRoutes({ db, substrate, logger: quiet, authenticator, onCommitted: () => (commits += 1) }),
      );
      handle = (request) => app.handle(request);
      await insertTopology(db, 't1');
      await db
        .insertInto('lans')
        .values({
          id: 'l1',
          topology_id: 't1',
          name: 'dmz',
          docker_network_id: null,
          subnet: '10.20.0.0/24',
          is_dmz: 1,
          x: null,
          y: null,
        })
        .execute();
      await insertDecky('web');
    });
    afterEach(() => database.dispose());

    const insertDecky = async (name: string, config: string | null = null) => {
      await database.db
        .insertInto('topology_deckies')
        .values({
          uuid: `uuid-${name}`,
          topology_id: 't1',
          name,
          services: '["ssh"]',
          decky_config: config,
          ip: '10.20.0.10',
          state: 'running',
          last_error: null,
          compose_hash: null,
          last_seen: null,
          updated_at: '2026-11-21T08:00:00.000Z',
          x: null,
          y: null,
        })
        .execute();
      await database.db
        .insertInto('topology_edges')
        .values({
          id: `edge-${name}`,
          topology_id: 't1',
          decky_uuid: `uuid-${name}`,
          lan_id: 'l1',
          is_bridge: 0,
          forwards_l3: 0,
        })
        .execute();
    };
    const ask = async (method: string, path: string, body?: unknown, headers?: Record<string, string>) => {
      const response = await handle(send(method, path, body, headers));
      const answer: Record<string, unknown> = JSON.parse(await response.text());
      return { status: response.status, body: answer };
    };
    const row = () =>
      database.db.selectFrom('topology_deckies').selectAll().where('name', '=', 'web').executeTakeFirstOrThrow();
    const services = async (): Promise<string[]> => JSON.parse((await row()).services);
    const configs = async () => JSON.parse((await row()).decky_config ?? '{}').service_config;

    test('adding one: substrate, row and event agree, and the relay is woken', async () => {
      const answer = await ask('POST', WEB, { name: 'http', config: { response_code: '404', port: 8080 } });
      const after = { decky_name: 'web', topology_id: 't1', services: ['ssh', 'http'] };
      expect(answer).toEqual({ status: 201, body: after });
      expect(await services()).toEqual(['ssh', 'http']);
      expect(await configs()).toEqual({ http: { response_code: 404 } });
      expect((await row()).updated_at > '2026-11-21T08:00:00.000Z').toBe(true);
      expect(await told(database.db)).toEqual([
        { topic: 'decky.web.service_added', type: '', payload: { ...after, service_name: 'http' } },
      ]);
      expect(substrate.running.get('web')).toEqual({
        topologyId: 't1',
        uuid: 'uuid-web',
        name: 'web',
        services: ['ssh', 'http'],
        addresses: [{ lanId: 'l1', ip: '10.20.0.10' }],
        forwardsL3: false,
      });
      expect(commits).toBe(1);
    });

    test('the event is in the channel of the topology and in that of deckies', async () => {
      await ask('POST', WEB, { name: 'http' });
      const [event] = await database.db.selectFrom('outbox').select('revisions').execute();
      expect(JSON.parse(event?.revisions ?? '')).toEqual({ decky: 1, 'topology.t1': 1 });
    });

    test('removing one takes its configuration along', async () => {
      await ask('POST', WEB, { name: 'http', config: { response_code: 404 } });
      await ask('POST', WEB, { name: 'smtp', config: { banner: 'hi' } });
      const answer = await ask('DELETE', `${WEB}/http`);
      const after = { decky_name: 'web', topology_id: 't1', services: ['ssh', 'smtp'] };
      expect(answer).toEqual({ status: 200, body: after });
      expect(await services()).toEqual(['ssh', 'smtp']);
      expect(await configs()).toEqual({ smtp: { banner: 'hi' } });
      expect((await told(database.db)).at(-1)).toEqual({
        topic: 'decky.web.service_removed',
        type: '',
        payload: { ...after, service_name: 'http' },
      });
      expect(substrate.calls.at(-1)).toBe('ensure web ssh,smtp');
    });

    test('configuring one stores it and lets the decky run on', async () => {
      const answer = await ask('PUT', `${WEB}/ssh/config`, {
        config: { user: 7, hostname: '', password: null, unknown: [1, { a: null }] },
      });
      const config = { user: '7' };
      const key = { decky_name: 'web', service_name: 'ssh', topology_id: 't1' };
      expect(answer).toEqual({ status: 200, body: { ...key, config, recreated: false } });
      expect(await configs()).toEqual({ ssh: config });
      expect(await told(database.db)).toEqual([
        {
          topic: 'decky.web.service_config_changed',
          type: '',
          payload: { ...key, service_config: config, recreated: false },
        },
      ]);
      expect(substrate.calls).toEqual([]);
    });

    test('applying a configuration stores it and makes the decky anew', async () => {
      const answer = await ask('POST', `${WEB}/ssh/apply`, { config: { hostname: 'mail' } });
      const key = { decky_name: 'web', service_name: 'ssh', topology_id: 't1' };
      expect(answer).toEqual({ status: 201, body: { ...key, config: { hostname: 'mail' }, recreated: true } });
      expect(await configs()).toEqual({ ssh: { hostname: 'mail' } });
      expect((await told(database.db)).map(({ payload }) => payload)).toEqual([
        { ...key, service_config: { hostname: 'mail' }, recreated: true },
      ]);
      expect(substrate.calls).toEqual(['remove web', 'ensure web ssh']);
    });

    test('what the configuration held besides is kept', async () => {
      await insertDecky('mail', '{"archetype":"mail-server","service_config":{"ssh":{"a":1}}}');
      await ask('POST', '/topologies/t1/deckies/mail/services', { name: 'smtp' });
      const mail = await database.db
        .selectFrom('topology_deckies')
        .select('decky_config')
        .where('name', '=', 'mail')
        .executeTakeFirstOrThrow();
      expect(JSON.parse(mail.decky_config ?? '')).toMatchObject({
        archetype: 'mail-server',
        service_config: { ssh: { a: 1 } },
      });
    });

    test.each<[string, string, string, unknown, number]>([
      ['no such topology', 'POST', '/topologies/none/deckies/web/services', { name: 'http' }, 404],
      ['a topology id with NUL', 'POST', '/topologies/a%00/deckies/web/services', { name: 'http' }, 404],
      ['no such decky', 'POST', '/topologies/t1/deckies/none/services', { name: 'http' }, 404],
      ['no such service to remove', 'DELETE', `${WEB}/http`, undefined, 409],
      ['an unknown service to remove', 'DELETE', `${WEB}/gopher`, undefined, 409],
      ['no such service to configure', 'PUT', `${WEB}/http/config`, { config: {} }, 409],
      ['an unknown service to configure', 'PUT', `${WEB}/gopher/config`, { config: {} }, 422],
      ['a singleton to configure', 'PUT', `${WEB}/sniffer/config`, { config: {} }, 422],
      ['a value that the service does not take', 'PUT', `${WEB}/http/config`, { config: { response_code: 'x' } }, 400],
      [
        'such a value, and an unknown decky',
        'POST',
        `/topologies/t1/deckies/none/services`,
        {
          name: 'http',
          config: { response_code: 'x' },
        },
        400,
      ],
      ['no such service to apply', 'POST', `${WEB}/http/apply`, { config: {} }, 409],
      ['an unknown service to apply', 'POST', `${WEB}/gopher/apply`, { config: {} }, 422],
      ['a name of a service that is none', 'PUT', `${WEB}/SSH/config`, { config: {} }, 422],
      ['a name of a decky that is none', 'DELETE', '/topologies/t1/deckies/a%20b/services/ssh', undefined, 422],
      ['there already', 'POST', WEB, { name: 'ssh' }, 409],
      ['unknown service', 'POST', WEB, { name: 'gopher' }, 422],
      ['a singleton of the fleet', 'POST', WEB, { name: 'sniffer' }, 422],
      ['config no object', 'POST', WEB, { name: 'http', config: [] }, 422],
      ['config null', 'PUT', `${WEB}/ssh/config`, { config: null }, 422],
      ['no JSON', 'POST', WEB, '{"name":', 422],
      ['a list', 'POST', WEB, [], 422],
      ['no name', 'POST', WEB, {}, 400],
      ['an empty name', 'POST', WEB, { name: '' }, 400],
      ['a name that is a number', 'POST', WEB, { name: 7 }, 400],
      ['no body', 'POST', WEB, undefined, 400],
      ['no body to apply', 'POST', `${WEB}/ssh/apply`, undefined, 400],
    ])('%s is refused and nothing changes', async (_, method, path, body, status) => {
      const before = await row();
      const answer = await ask(method, path, body);
      expect(answer).toEqual({ status, body: { detail: expect.any(String) } });
      expect(await row()).toEqual(before);
      expect(await told(database.db)).toEqual([]);
      expect(substrate.calls).toEqual([]);
      expect(commits).toBe(0);
    });

    test('only administrators may', async () => {
      const body = { config: {} };
      expect((await ask('POST', WEB, { name: 'http' }, asViewer)).status).toBe(403);
      expect((await ask('DELETE', `${WEB}/ssh`, undefined, asViewer)).status).toBe(403);
      expect((await ask('PUT', `${WEB}/ssh/config`, body, asViewer)).status).toBe(403);
      expect((await ask('POST', `${WEB}/ssh/apply`, body, {})).status).toBe(401);
    });

    test.each(['deploying', 'tearing_down'])('not while the topology is %s', async (status) => {
      await database.db.updateTable('topologies').set({ status }).execute();
      expect(await ask('POST', WEB, { name: 'http' })).toEqual({
        status: 409,
        body: { detail: `The topology is ${status}; its services change again when that is done` },
      });
      expect(substrate.calls).toEqual([]);
      // Nobody in the substrate sees a configuration.
      expect((await ask('PUT', `${WEB}/ssh/config`, { config: { user: 'a' } })).status).toBe(200);
    });

    test.each(['pending', 'failed', 'torn_down'])('while it is %s, the row alone', async (status) => {
      await database.db.updateTable('topologies').set({ status }).execute();
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(201);
      expect((await ask('POST', `${WEB}/http/apply`, { config: {} })).status).toBe(201);
      expect(await services()).toEqual(['ssh', 'http']);
      expect(substrate.calls).toEqual([]);
    });

    test('none changes the version of the topology', async () => {
      const version = () => database.db.selectFrom('topologies').select('version').executeTakeFirstOrThrow();
      const before = await version();
      await ask('POST', WEB, { name: 'http' });
      await ask('PUT', `${WEB}/ssh/config`, { config: { user: 'a' } });
      expect(await version()).toEqual(before);
    });

    test('after one has been removed, mutations of the topology go on', async () => {
      await ask('POST', WEB, { name: 'http', config: { response_code: 404 } });
      await ask('DELETE', `${WEB}/http`);
      const state = await database.db.transaction().execute((trx) => loadState(trx, 't1'));
      expect(state && checkInvariants(state)).toEqual([]);
    });

    test('while it is degraded', async () => {
      await database.db.updateTable('topologies').set({ status: 'degraded' }).execute();
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(201);
    });

    test('a substrate that fails: 503, the row stays, and the substrate gets what the row says', async () => {
      const before = await row();
      substrate.beforeEnsure = ({ services: wanted }) => {
        if (wanted.includes('http')) throw new Error('docker could not run decky');
      };
      expect(await ask('POST', WEB, { name: 'http' })).toEqual({
        status: 503,
        body: { detail: 'Decky web stays as it was: docker could not run decky' },
      });
      expect(await row()).toEqual(before);
      expect(await told(database.db)).toEqual([]);
      expect(substrate.running.get('web')?.services).toEqual(['ssh']);
      expect(commits).toBe(0);
    });

    test('a topology that stops being live meanwhile: 409 and nothing is kept', async () => {
      substrate.beforeEnsure = () => database.db.updateTable('topologies').set({ status: 'tearing_down' }).execute();
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(409);
      expect(await services()).toEqual(['ssh']);
      expect(await told(database.db)).toEqual([]);
    });

    test('one that somebody else adds meanwhile is added once, and the substrate has what the row says', async () => {
      let meanwhile: Promise<unknown> | undefined;
      substrate.beforeEnsure = () => {
        meanwhile ??= ask('POST', WEB, { name: 'http' });
      };
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(201);
      expect(await meanwhile).toMatchObject({ status: 409 });
      expect(await services()).toEqual(['ssh', 'http']);
      expect(await told(database.db)).toHaveLength(1);
      expect(substrate.running.get('web')?.services).toEqual(['ssh', 'http']);
    });

    test('edits of one decky at once: none is lost, and the substrate ends with all of them', async () => {
      const wanted = ['http', 'ftp', 'smb'];
      const answers = await Promise.all(wanted.map((name) => ask('POST', WEB, { name })));
      expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
      expect((await services()).sort()).toEqual(['ftp', 'http', 'smb', 'ssh']);
      expect(substrate.running.get('web')?.services).toEqual(await services());
      const lists = (await told(database.db)).map(({ payload }) => payload.services);
      // Each event holds the list after its own change.
      expect(lists.map((list) => (Array.isArray(list) ? list.length : 0))).toEqual([2, 3, 4]);
      expect(commits).toBe(3);
    });

    test('a change that is being committed at the same moment is waited for, not overwritten', async () => {
      let other: Promise<void> | undefined;
      substrate.beforeEnsure = () => {
        if (other !== undefined) return undefined;
        const written = Promise.withResolvers<void>();
        other = database.db.transaction().execute(async (trx) => {
          await lockTopology(trx, 't1');
          await trx.updateTable('topology_deckies').set({ services: '["ssh","ftp"]' }).execute();
          written.resolve();
          // Time enough for the edit to come to its own transaction.
          for (let round = 0; round < 50; round += 1) await trx.selectFrom('topologies').select('id').execute();
        });
        return written.promise;
      };
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(201);
      await other;
      expect(await services()).toEqual(['ssh', 'ftp', 'http']);
      expect(substrate.running.get('web')?.services).toEqual(['ssh', 'ftp', 'http']);
    });

    test('one whom others overtake again and again is told so', async () => {
      let turn = 0;
      substrate.beforeEnsure = async () => {
        turn += 1;
        await database.db
          .updateTable('topology_deckies')
          .set({ services: JSON.stringify(['ssh', `other-${turn}`]) })
          .execute();
      };
      expect(await ask('POST', WEB, { name: 'http' })).toEqual({
        status: 409,
        body: { detail: 'Others keep changing decky web; try again' },
      });
      expect(await told(database.db)).toEqual([]);
    });

    test('one that others overtake, and then can no longer be made, leaves the substrate as the row says', async () => {
      const steps = ['["ssh","ftp"]', '["ssh","ftp","http"]'];
      substrate.beforeEnsure = async () => {
        const next = steps.shift();
        if (next !== undefined) await database.db.updateTable('topology_deckies').set({ services: next }).execute();
      };
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(409);
      expect(await services()).toEqual(['ssh', 'ftp', 'http']);
      expect(substrate.running.get('web')?.services).toEqual(['ssh', 'ftp', 'http']);
    });

    test('what an agent on another host runs is only recorded', async () => {
      await database.db.updateTable('topologies').set({ mode: 'agent', target_host_uuid: 'h' }).execute();
      expect((await ask('POST', WEB, { name: 'http' })).status).toBe(201);
      expect((await ask('POST', `${WEB}/ssh/apply`, { config: {} })).status).toBe(201);
      expect(substrate.calls).toEqual([]);
    });
  });
}
