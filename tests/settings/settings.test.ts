import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { intervalMs } from '../../src/decky/rotation.ts';
import { Rotator } from '../../src/decky/rotator.ts';
import type { App } from '../../src/main.ts';
import { settingsRoutes } from '../../src/settings/routes.ts';
import { Settings } from '../../src/settings/settings.ts';
import { recordSubstrate } from '../../src/substrate/record.ts';
import { insertFleetDecky, send } from '../decky/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';
import { asViewer, authenticator, shell } from '../topology/support.ts';

const DEFAULTS = { deployment_limit: 10, global_mutation_interval: '30m' };

for (const engine of ENGINES) {
  describe(`settings (${engine})`, () => {
    let database: TestDatabase;
    let settings: Settings;
    let commits: number;
    let handle: (request: Request) => Promise<Response>;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      commits = 0;
      settings = new Settings(database.db, DEFAULTS, () => (commits += 1));
      const purge = () => Promise.reject(new Error('nobody may'));
      const app = shell().use(settingsRoutes({ authenticator, settings, developer: false, logger: quiet, purge }));
      handle = (request) => app.handle(request);
    });
    afterEach(() => database.dispose());

    const put = async (path: string, body: unknown, headers?: Record<string, string>) => {
      const response = await handle(send('PUT', `/config/${path}`, body, headers));
      return { status: response.status, body: JSON.parse(await response.text()) };
    };

    test('are what the process was configured with until somebody sets them, and then that', async () => {
      expect(await settings.read()).toEqual(DEFAULTS);
      expect(await put('deployment-limit', { deployment_limit: 50 })).toEqual({
        status: 200,
        body: { message: 'Deployment limit updated' },
      });
      expect(await put('global-mutation-interval', { global_mutation_interval: '2d' })).toEqual({
        status: 200,
        body: { message: 'Global mutation interval updated' },
      });
      const set = { deployment_limit: 50, global_mutation_interval: '2d' };
      expect(await settings.read()).toEqual(set);
      // Another node, and this one after a restart.
      const other = new Settings(database.db, { ...DEFAULTS, deployment_limit: 1 }, () => {});
      expect(await other.read()).toEqual(set);
      expect(commits).toBe(2);
    });

    test.each<[string, unknown, number]>([
      ['deployment-limit', undefined, 400],
      ['deployment-limit', {}, 400],
      ['deployment-limit', { deployment_limit: null }, 422],
      ['deployment-limit', { deployment_limit: 0 }, 422],
      ['deployment-limit', { deployment_limit: 501 }, 422],
      ['deployment-limit', { deployment_limit: 2.5 }, 422],
      ['deployment-limit', { deployment_limit: 'many' }, 422],
      ['deployment-limit', { deployment_limit: '50' }, 200],
      ['deployment-limit', { deployment_limit: true }, 200],
      ['global-mutation-interval', undefined, 400],
      ['global-mutation-interval', { global_mutation_interval: null }, 400],
      ['global-mutation-interval', { global_mutation_interval: 30 }, 400],
      ['global-mutation-interval', { global_mutation_interval: '30' }, 422],
      ['global-mutation-interval', { global_mutation_interval: '1h' }, 422],
      ['global-mutation-interval', { global_mutation_interval: '0m' }, 422],
      ['global-mutation-interval', { global_mutation_interval: '' }, 422],
      ['global-mutation-interval', { global_mutation_interval: '101y' }, 422],
    ])('PUT /config/%s %j: %d', async (path, body, status) => {
      expect((await put(path, body)).status).toBe(status);
      if (status !== 200) expect(await settings.read()).toEqual(DEFAULTS);
    });

    test('are for administrators, and nothing is purged', async () => {
      expect((await put('deployment-limit', { deployment_limit: 5 }, asViewer)).status).toBe(403);
      const purge = await handle(send('DELETE', '/config/reinit'));
      expect(purge.status).toBe(403);
      expect(await purge.json()).toEqual({ detail: expect.stringContaining('developer mode') });
    });

    test('an interval that is set moves the due time of those that follow it, and of nobody else', async () => {
      const { db } = database;
      const now = Date.parse('2026-11-21T12:00:00.000Z');
      const last = { last_mutated_at: '2026-11-21T12:00:00.000Z' };
      await insertFleetDecky(db, 'follows', last);
      await insertFleetDecky(db, 'own', { ...last, mutate_interval: '7m' });
      const rotator = new Rotator({
        db,
        substrate: recordSubstrate,
        logger: quiet,
        onCommitted: () => {},
        now: () => now,
        pollMs: 3_600_000,
        fleetIntervalMs: async () => intervalMs((await settings.read()).global_mutation_interval) ?? null,
      });
      const due = async (name: string) =>
        (await db.selectFrom('fleet_deckies').selectAll().where('name', '=', name).executeTakeFirstOrThrow())
          .next_due_at;
      rotator.start();
      try {
        await until('the first', async () => (await due('follows')) === '2026-11-21T12:30:00.000Z');
        await settings.setMutationInterval('2d', 'admin');
        rotator.wake();
        await until('the second', async () => (await due('follows')) === '2026-11-23T12:00:00.000Z');
        expect(await due('own')).toBe('2026-11-21T12:07:00.000Z');
      } finally {
        await rotator.stop();
      }
    });
  });
}

describe('settings of two nodes', () => {
  let plane: Plane;
  let serving: App;
  let working: App;
  beforeAll(async () => {
    plane = await createPlane();
    serving = await plane.node({}, { ROLES: 'api' });
    working = await plane.node({}, { ROLES: 'api,relay,rotator' });
  });
  afterAll(() => plane.stop());

  test('what one sets the other shows and uses at once', async () => {
    const token = await plane.token(serving.url);
    const { db } = plane.database;
    await insertFleetDecky(db, 'follows', { last_mutated_at: new Date().toISOString() });
    const due = async () => (await db.selectFrom('fleet_deckies').selectAll().executeTakeFirstOrThrow()).next_due_at;
    const set = { global_mutation_interval: '3y' };
    expect((await call(serving.url, token, 'PUT', '/config/global-mutation-interval', set)).status).toBe(200);
    const shown = await call(working.url, token, 'GET', '/config');
    expect(await shown.json()).toMatchObject(set);
    // The rotator of the other node was told: its next poll would be ten seconds away.
    await until(
      'the rotator to look',
      async () => Date.parse((await due()) ?? '') > Date.now() + 1000 * 86_400_000,
      8000,
    );
  });
});
