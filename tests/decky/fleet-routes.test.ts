import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import type { DeckyLifecycleRow } from '../../src/db/schema.ts';
import { fleetRoutes } from '../../src/decky/fleet-routes.ts';
import { seedFleet } from '../../src/demo/seed-fleet.ts';
import { Settings } from '../../src/settings/settings.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { asViewer, authenticator, get, shell } from '../topology/support.ts';
import { insertFleetDecky, NOON, type SpySubstrate, send, spySubstrate, UUID } from './support.ts';

for (const engine of ENGINES) {
  describe(`fleet routes (${engine})`, () => {
    let database: TestDatabase;
    let handle: (request: Request) => Promise<Response>;
    let wakes: number;
    let substrate: SpySubstrate;
    let settings: Settings;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      wakes = 0;
      const { db } = database;
      substrate = spySubstrate();
      settings = new Settings(db, { deployment_limit: 10, global_mutation_interval: '30m' }, () => {});
      const app = shell().use(
        fleetRoutes({
          db,
          settings,
          substrate,
          network: '192.168.60.0/24',
          authenticator,
          onCommitted: () => {},
          onRequested: () => (wakes += 1),
        }),
      );
      handle = (request) => app.handle(request);
    });
    afterEach(() => database.dispose());

    const ask = async (request: Request) => {
      const response = await handle(request);
      return { status: response.status, body: JSON.parse(await response.text()) };
    };
    const requests = () => database.db.selectFrom('decky_lifecycle').selectAll().execute();

    describe('POST /deckies/:name/mutate', () => {
      test('leaves a request for whichever rotator comes first, and wakes this one', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const answer = await ask(send('POST', '/deckies/edge-1/mutate'));
        expect(answer).toEqual({ status: 202, body: { lifecycle_ids: [expect.stringMatching(UUID)] } });
        expect(await requests()).toEqual([
          {
            id: answer.body.lifecycle_ids[0],
            decky_name: 'edge-1',
            host_uuid: 'host-1',
            operation: 'mutate',
            status: 'pending',
            error: null,
            started_at: expect.any(String),
            updated_at: expect.any(String),
            completed_at: null,
            trigger: 'operator',
            actor: 'admin',
            planned_services: null,
            claimed_by: null,
            claim_expires_at: null,
          },
        ]);
        expect(wakes).toBe(1);
      });

      test('without any fleet', async () => {
        const answer = await ask(send('POST', '/deckies/edge-1/mutate'));
        expect(answer).toEqual({ status: 404, body: { detail: 'No active deployment' } });
      });

      test.each([
        ['edge-2', 404, 'Decky edge-2 not found'],
        ['empty', 404, 'No services available to mutate empty'],
        ['UPPER', 422, expect.any(String)],
        ['a.b', 422, expect.any(String)],
        ['a%00', 422, expect.any(String)],
        ['%ff', 422, expect.any(String)],
        ['x'.repeat(65), 422, expect.any(String)],
      ])('%s', async (name, status, detail) => {
        await insertFleetDecky(database.db, 'edge-1');
        await insertFleetDecky(database.db, 'empty', { service_pool: '[]' });
        expect(await ask(send('POST', `/deckies/${name}/mutate`))).toEqual({ status, body: { detail } });
        expect(await requests()).toEqual([]);
        expect(wakes).toBe(0);
      });

      test('only administrators may', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        expect((await ask(send('POST', '/deckies/edge-1/mutate', undefined, asViewer))).status).toBe(403);
        expect((await ask(send('POST', '/deckies/edge-1/mutate', undefined, {}))).status).toBe(401);
      });
    });

    describe('GET /deckies/lifecycle', () => {
      test('tells what became of requests, without those that nobody knows', async () => {
        await insertFleetDecky(database.db, 'edge-1');
        const { body } = await ask(send('POST', '/deckies/edge-1/mutate'));
        const [id] = body.lifecycle_ids;
        const answer = await ask(get(`/deckies/lifecycle?ids=${id}&ids=none&ids=a%00`));
        expect(answer).toEqual({
          status: 200,
          body: {
            rows: [
              {
                id,
                decky_name: 'edge-1',
                host_uuid: 'host-1',
                operation: 'mutate',
                status: 'pending',
                error: null,
                started_at: expect.stringMatching(/Z$/),
                updated_at: expect.stringMatching(/Z$/),
                completed_at: null,
              },
            ],
          },
        });
      });

      test('is not waited for without an end where nobody takes requests up', async () => {
        const long = new Date(Date.now() - 61_000).toISOString();
        const waiting = { host_uuid: null, trigger: 'operator', updated_at: long, started_at: long } as const;
        const insert = (id: string, columns: Partial<DeckyLifecycleRow> = {}) =>
          database.db
            .insertInto('decky_lifecycle')
            .values({ id, decky_name: id, operation: 'deploy', status: 'pending', ...waiting, ...columns })
            .execute();
        const seen = async () => {
          const { body } = await ask(get('/deckies/lifecycle?ids=old&ids=new&ids=done&ids=dead'));
          return Object.fromEntries(body.rows.map(({ id, status }: DeckyLifecycleRow) => [id, status]));
        };
        await insert('old');
        await insert('new', { started_at: new Date().toISOString() });
        await insert('done', { status: 'succeeded', completed_at: long });
        await insert('dead', { status: 'running', claimed_by: 'x', claim_expires_at: Date.now() - 61_000 });
        expect(await seen()).toEqual({ old: 'failed', new: 'pending', done: 'succeeded', dead: 'failed' });
        const { body } = await ask(get('/deckies/lifecycle?ids=old'));
        expect(body.rows[0]).toMatchObject({ error: expect.stringContaining('rotator'), completed_at: null });
        // It is done as soon as there is somebody.
        expect((await requests()).find(({ id }) => id === 'old')).toMatchObject({ status: 'pending', error: null });
        // Somebody is busy: the others have to wait.
        await insert('busy', { status: 'running', claimed_by: 'y', claim_expires_at: Date.now() + 30_000 });
        expect(await seen()).toEqual({ old: 'pending', new: 'pending', done: 'succeeded', dead: 'running' });
      });

      test('takes one to 200 ids', async () => {
        const query = (count: number) => Array.from({ length: count }, (_, index) => `ids=${index}`).join('&');
        expect(await ask(get(`/deckies/lifecycle?${query(200)}`))).toEqual({ status: 200, body: { rows: [] } });
        expect((await ask(get(`/deckies/lifecycle?${query(201)}`))).status).toBe(422);
        expect((await ask(get('/deckies/lifecycle'))).status).toBe(400);
        expect((await ask(get('/deckies/lifecycle?ids=1', {}))).status).toBe(401);
      });
    });

    describe('PUT /deckies/:name/mutate-interval', () => {
      const interval = async () => {
        const row = await database.db.selectFrom('fleet_deckies').selectAll().executeTakeFirstOrThrow();
        return [row.mutate_interval, row.next_due_at];
      };

      test('sets it, takes it away, and has the due time worked out anew', async () => {
        await insertFleetDecky(database.db, 'edge-1', { next_due_at: '2027-01-01T00:00:00.000Z' });
        const message = { message: 'Mutation interval updated' };
        const set = await ask(send('PUT', '/deckies/edge-1/mutate-interval', { mutate_interval: '5d' }));
        expect(set).toEqual({ status: 200, body: message });
        expect(await interval()).toEqual(['5d', null]);
        const unset = await ask(send('PUT', '/deckies/edge-1/mutate-interval', { mutate_interval: null }));
        expect(unset).toEqual({ status: 200, body: message });
        expect(await interval()).toEqual([null, null]);
        expect(wakes).toBe(2);
      });

      test.each<[string, string, unknown, number]>([
        ['no unit', 'edge-1', { mutate_interval: '5' }, 422],
        ['zero', 'edge-1', { mutate_interval: '0d' }, 422],
        ['empty', 'edge-1', { mutate_interval: '' }, 422],
        ['long', 'edge-1', { mutate_interval: '9'.repeat(17) }, 422],
        ['a unit that DECNET has not', 'edge-1', { mutate_interval: '1h' }, 422],
        ['no minutes', 'edge-1', { mutate_interval: 0 }, 422],
        ['half a minute', 'edge-1', { mutate_interval: 0.5 }, 400],
        ['yes', 'edge-1', { mutate_interval: true }, 400],
        ['no body', 'edge-1', undefined, 400],
        ['a list', 'edge-1', [], 422],
        ['a strange name', 'Edge', { mutate_interval: '5d' }, 422],
        ['no such decky', 'edge-2', { mutate_interval: '5d' }, 404],
      ])('%s is refused', async (_, name, body, status) => {
        await insertFleetDecky(database.db, 'edge-1', { next_due_at: '2027-01-01T00:00:00.000Z' });
        const answer = await ask(send('PUT', `/deckies/${name}/mutate-interval`, body));
        expect(answer).toEqual({ status, body: { detail: expect.any(String) } });
        expect(await interval()).toEqual([null, '2027-01-01T00:00:00.000Z']);
      });

      test('only administrators may', async () => {
        const body = { mutate_interval: '5d' };
        expect((await ask(send('PUT', '/deckies/edge-1/mutate-interval', body, asViewer))).status).toBe(403);
      });
    });

    test('GET /deckies: a row without more than a name, one that follows the fleet, one of another host', async () => {
      await insertFleetDecky(database.db, 'bare', { host_uuid: null, archetype: '' });
      await insertFleetDecky(database.db, 'set', {
        mutate_interval: '1M',
        last_mutated_at: '2026-11-21T12:00:00.250Z',
        service_config: '{"ssh":{"user":"a"}}',
      });
      const { body } = await ask(get('/deckies'));
      expect(body).toMatchObject([
        { uuid: 'local:bare', archetype: null, mutate_interval: null, last_mutated: 0, ip: '' },
        {
          uuid: 'host-1:set',
          mutate_interval: 43_200,
          last_mutated: NOON / 1000 + 0.25,
          service_config: { ssh: { user: 'a' } },
        },
      ]);
    });

    test('GET /deckies lists the fleet by name', async () => {
      await database.db.transaction().execute(async (trx) => {
        await seedFleet(trx, NOON);
        await seedFleet(trx, NOON + 1); // Again: nothing is doubled or overwritten.
      });
      const { status, body } = await ask(get('/deckies'));
      expect(status).toBe(200);
      expect(body.map(({ name }: { name: string }) => name)).toEqual(['edge-cache', 'edge-dns', 'edge-mqtt']);
      expect(body[0]).toEqual({
        uuid: expect.stringMatching(/^[0-9a-f-]{36}:edge-cache$/),
        name: 'edge-cache',
        ip: '192.168.60.2',
        services: ['http', 'https'],
        distro: 'debian',
        base_image: 'debian:bookworm-slim',
        build_base: 'debian:bookworm-slim',
        hostname: 'edge-cache',
        archetype: 'web-server',
        service_config: {},
        nmap_os: 'linux',
        mutate_interval: 5,
        last_mutated: 0,
        last_login_attempt: 0,
        host_uuid: expect.stringMatching(UUID),
        state: 'running',
      });
      expect((await ask(get('/deckies', {}))).status).toBe(401);
    });
  });
}
