import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { get, insertTopology, topologyApp } from './support.ts';

for (const engine of ENGINES) {
  describe(`topology reads (${engine})`, () => {
    let database: TestDatabase;
    let app: ReturnType<typeof topologyApp>;

    beforeAll(async () => {
      database = await createTestDatabase(engine);
      app = topologyApp(database.db);
      await insertTopology(database.db, 't1', { at: '2026-11-21T08:00:01.000Z' });
      await insertTopology(database.db, 't2', { at: '2026-11-21T08:00:02.000Z', status: 'degraded' });
      await insertTopology(database.db, 't3', { at: '2026-11-21T08:00:03.000Z' });
      await insertParts(database);
    });
    afterAll(() => database.dispose());

    const list = async (query: string) => {
      const response = await app.handle(get(`/topologies/${query}`));
      const body: { total: number; limit: number; offset: number; data: { id: string }[] } = JSON.parse(
        await response.text(),
      );
      return { ...body, data: body.data.map((row) => row.id) };
    };

    test('lists newest first, in pages', async () => {
      expect(await list('')).toEqual({ total: 3, limit: 50, offset: 0, data: ['t3', 't2', 't1'] });
      expect(await list('?limit=1&offset=1')).toEqual({ total: 3, limit: 1, offset: 1, data: ['t2'] });
      expect(await list('?offset=9')).toEqual({ total: 3, limit: 50, offset: 9, data: [] });
    });

    test('filters by status; an unknown status finds nothing', async () => {
      expect(await list('?status=degraded')).toMatchObject({ total: 1, data: ['t2'] });
      expect(await list('?status=nonsense')).toMatchObject({ total: 0, data: [] });
      expect(await list('?status=%00')).toMatchObject({ total: 0, data: [] });
    });

    test.each(['limit=0', 'limit=501', 'limit=abc', 'limit=2.5', 'offset=-1', 'offset=1e30'])(
      'refuses %s',
      async (query) => {
        const response = await app.handle(get(`/topologies/?${query}`));
        expect([response.status, await response.json()]).toEqual([422, { detail: 'Invalid request parameters' }]);
      },
    );

    test('sends a path without its slash to the one with it, and keeps the query', async () => {
      const response = await app.handle(get('/topologies?limit=5&status=active'));
      expect(response.status).toBe(307);
      expect(response.headers.get('location')).toBe('/api/v1/topologies/?limit=5&status=active');
    });

    test('gives every key of a topology, its LANs, deckies and edges', async () => {
      const response = await app.handle(get('/topologies/t1'));
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({
        topology: {
          id: 't1',
          name: 'name of t1',
          mode: 'unihost',
          target_host_uuid: null,
          status: 'active',
          version: 1,
          needs_resync: false,
          created_at: '2026-11-21T08:00:01.000Z',
          status_changed_at: '2026-11-21T08:00:01.000Z',
          email_personas: '[]',
          language_default: 'en',
        },
        lans: [
          {
            id: 'l1',
            topology_id: 't1',
            name: 'dmz',
            subnet: '10.0.0.0/24',
            is_dmz: true,
            docker_network_id: null,
            x: 40,
            y: 4.5,
          },
          {
            id: 'l2',
            topology_id: 't1',
            name: 'ops',
            subnet: '10.0.1.0/24',
            is_dmz: false,
            docker_network_id: 'n',
            x: null,
            y: null,
          },
        ],
        deckies: [
          {
            uuid: 'd1',
            topology_id: 't1',
            name: 'gate',
            services: ['ssh', 'http'],
            decky_config: { name: 'gate', ips_by_lan: { dmz: '10.0.0.9', ops: '10.0.1.9' }, archetype: 'deaddeck' },
            ip: '10.0.0.9',
            state: 'running',
            last_error: null,
            x: 1,
            y: 2,
          },
          {
            uuid: 'd2',
            topology_id: 't1',
            name: 'vault',
            services: [],
            decky_config: { name: 'vault', ips_by_lan: { ops: '10.0.1.7' } },
            ip: '10.0.1.7',
            state: 'running',
            last_error: null,
            x: 1,
            y: 2,
          },
        ],
        edges: [
          { id: 'e1', topology_id: 't1', decky_uuid: 'd1', lan_id: 'l1', is_bridge: false, forwards_l3: true },
          { id: 'e2', topology_id: 't1', decky_uuid: 'd1', lan_id: 'l2', is_bridge: true, forwards_l3: false },
          { id: 'e3', topology_id: 't1', decky_uuid: 'd2', lan_id: 'l2', is_bridge: false, forwards_l3: false },
        ],
      });
    });

    test('gives the status changes newest first', async () => {
      const response = await app.handle(get('/topologies/t1/status-events?limit=1'));
      expect(await response.json()).toEqual([
        {
          id: 's2',
          topology_id: 't1',
          from_status: 'deploying',
          to_status: 'active',
          at: '2026-11-21T08:00:05.000Z',
          reason: null,
        },
      ]);
      for (const limit of ['0', '1001']) {
        expect((await app.handle(get(`/topologies/t1/status-events?limit=${limit}`))).status).toBe(422);
      }
    });

    test.each(['/topologies/none', '/topologies/none/status-events', '/topologies/%00', '/topologies/%zz'])(
      'knows no %s',
      async (path) => {
        const response = await app.handle(get(path));
        expect([response.status, await response.json()]).toEqual([404, { detail: 'Topology not found' }]);
      },
    );

    test.each(['/topologies/', '/topologies/t1', '/topologies/t1/status-events', '/topologies/t1/mutations'])(
      'asks for a token on %s',
      async (path) => {
        expect((await app.handle(get(path, {}))).status).toBe(401);
      },
    );
  });
}

async function insertParts({ db }: TestDatabase) {
  await db
    .insertInto('lans')
    .values([
      {
        id: 'l2',
        topology_id: 't1',
        name: 'ops',
        subnet: '10.0.1.0/24',
        is_dmz: 0,
        docker_network_id: 'n',
        x: null,
        y: null,
      },
      {
        id: 'l1',
        topology_id: 't1',
        name: 'dmz',
        subnet: '10.0.0.0/24',
        is_dmz: 1,
        docker_network_id: null,
        x: 40,
        y: 4.5,
      },
    ])
    .execute();
  const decky = {
    topology_id: 't1',
    state: 'running',
    last_error: null,
    compose_hash: 'c',
    last_seen: null,
    x: 1,
    y: 2,
  };
  const at = '2026-11-21T08:00:01.000Z';
  const stored = '{"ips_by_lan":{"dmz":"10.0.0.9","ops":"10.0.1.9"},"archetype":"deaddeck"}';
  await db
    .insertInto('topology_deckies')
    .values([
      { ...decky, uuid: 'd2', name: 'vault', services: '[]', decky_config: null, ip: '10.0.1.7', updated_at: at },
      {
        ...decky,
        uuid: 'd1',
        name: 'gate',
        services: '["ssh","http"]',
        decky_config: stored,
        ip: '10.0.0.9',
        updated_at: at,
      },
    ])
    .execute();
  await db
    .insertInto('topology_edges')
    .values([
      { id: 'e1', topology_id: 't1', decky_uuid: 'd1', lan_id: 'l1', is_bridge: 0, forwards_l3: 1 },
      { id: 'e2', topology_id: 't1', decky_uuid: 'd1', lan_id: 'l2', is_bridge: 1, forwards_l3: 0 },
      { id: 'e3', topology_id: 't1', decky_uuid: 'd2', lan_id: 'l2', is_bridge: 0, forwards_l3: 0 },
    ])
    .execute();
  const change = { topology_id: 't1', reason: null };
  await db
    .insertInto('topology_status_events')
    .values([
      { ...change, id: 's2', from_status: 'deploying', to_status: 'active', at: '2026-11-21T08:00:05.000Z' },
      { ...change, id: 's1', from_status: 'pending', to_status: 'deploying', at: '2026-11-21T08:00:04.000Z' },
    ])
    .execute();
}
