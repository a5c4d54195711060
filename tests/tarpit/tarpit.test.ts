import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { Commits } from '../../src/bus/commits.ts';
import { startTarpit } from '../../src/tarpit/start.ts';
import { insertFleetDecky, send, told } from '../decky/support.ts';
import { createTestDatabase, ENGINES, type TestDatabase } from '../support/database.ts';
import { asViewer, authenticator, insertTopology, shell } from '../topology/support.ts';

const FLEET = '/deckies/web/tarpit';
const TOPOLOGY = '/topologies/t1/deckies/web/tarpit';
const RULE = { ports: [22, 80], delay_ms: 5000 };

for (const engine of ENGINES) {
  describe(`tarpits (${engine})`, () => {
    let database: TestDatabase;
    let handle: (request: Request) => Promise<Response>;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      const { db } = database;
      const { routes } = startTarpit({ db, authenticator, commits: new Commits() });
      const app = shell().use(routes);
      handle = (request) => app.handle(request);
      await insertFleetDecky(db, 'web');
      await insertTopology(db, 't1');
      await insertDecky();
    });
    afterEach(() => database.dispose());

    const insertDecky = () =>
      database.db
        .insertInto('topology_deckies')
        .values({
          uuid: 'uuid-web',
          topology_id: 't1',
          name: 'web',
          services: '["ssh"]',
          decky_config: null,
          ip: null,
          state: 'running',
          last_error: null,
          compose_hash: null,
          last_seen: null,
          updated_at: '2026-11-21T08:00:00.000Z',
          x: null,
          y: null,
        })
        .execute();
    const ask = async (method: string, path: string, body?: unknown, headers?: Record<string, string>) => {
      const response = await handle(send(method, path, body, headers));
      return { status: response.status, body: JSON.parse(await response.text()) };
    };

    test.each([FLEET, TOPOLOGY])('%s is set, shown and taken away, and each change is told', async (path) => {
      expect((await ask('GET', path)).status).toBe(404);
      expect(await ask('POST', path, { ...RULE, ports: [22, 80, '22'] })).toEqual({
        status: 201,
        body: { message: 'tarpit active' },
      });
      expect(await ask('GET', path, undefined, asViewer)).toEqual({
        status: 200,
        body: {
          rule: {
            id: expect.any(String),
            decky_name: 'web',
            ...RULE,
            created_at: expect.stringMatching(/Z$/),
            created_by: 'admin',
          },
          active_connections: [],
        },
      });
      expect((await ask('POST', path, RULE)).status).toBe(409);
      const removed = { status: 200, body: { message: 'tarpit removed' } };
      expect(await ask('DELETE', path)).toEqual(removed);
      expect(await ask('DELETE', path)).toEqual(removed);
      expect((await ask('GET', path)).status).toBe(404);
      const lines = (await told(database.db)).map(({ topic, payload }) => [topic, payload.event_type, payload.decky]);
      expect(lines).toEqual([
        ['system.log', 'tarpit_enabled', 'web'],
        ['system.log', 'tarpit_disabled', 'web'],
      ]);
    });

    test('that of the fleet and that of a topology do not collide, though their deckies have one name', async () => {
      expect((await ask('POST', FLEET, RULE)).status).toBe(201);
      expect((await ask('GET', TOPOLOGY)).status).toBe(404);
      expect((await ask('POST', TOPOLOGY, RULE)).status).toBe(201);
      await ask('DELETE', FLEET);
      expect((await ask('GET', TOPOLOGY)).status).toBe(200);
    });

    test('goes with its decky: another of that name has none', async () => {
      await ask('POST', FLEET, RULE);
      await ask('POST', TOPOLOGY, RULE);
      await database.db.deleteFrom('fleet_deckies').execute();
      await database.db.deleteFrom('topology_deckies').execute();
      await insertFleetDecky(database.db, 'web');
      await insertDecky();
      expect((await ask('GET', FLEET)).status).toBe(404);
      expect((await ask('GET', TOPOLOGY)).status).toBe(404);
    });

    test('of two that set one at once one succeeds', async () => {
      const answers = await Promise.all([ask('POST', FLEET, RULE), ask('POST', FLEET, RULE)]);
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
    });

    test.each<[string, string, unknown, number]>([
      ['no ports', FLEET, { delay_ms: 500 }, 400],
      ['no delay', FLEET, { ports: [22] }, 400],
      ['an empty list', FLEET, { ports: [], delay_ms: 500 }, 422],
      ['no list', FLEET, { ports: 22, delay_ms: 500 }, 422],
      ['a port that is none', FLEET, { ports: [22, 65_536], delay_ms: 500 }, 422],
      ['too short a delay', FLEET, { ports: [22], delay_ms: 99 }, 422],
      ['too long a delay', FLEET, { ports: [22], delay_ms: 300_001 }, 422],
      ['an unknown decky', '/deckies/none/tarpit', RULE, 404],
      ['a name that is none', '/deckies/None/tarpit', RULE, 422],
      ['an unknown topology', '/topologies/none/deckies/web/tarpit', RULE, 404],
      ['an id that is none', '/topologies/a_b/deckies/web/tarpit', RULE, 422],
    ])('%s is refused and nothing changes', async (_, path, body, status) => {
      expect(await ask('POST', path, body)).toEqual({ status, body: { detail: expect.any(String) } });
      expect(await database.db.selectFrom('tarpits').selectAll().execute()).toEqual([]);
      expect(await told(database.db)).toEqual([]);
    });

    test('is for administrators to change', async () => {
      expect((await ask('POST', FLEET, RULE, asViewer)).status).toBe(403);
      expect((await ask('DELETE', TOPOLOGY, undefined, asViewer)).status).toBe(403);
      expect((await ask('GET', FLEET, undefined, {})).status).toBe(401);
    });
  });
}
