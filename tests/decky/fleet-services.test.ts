import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { requestRotation } from '../../src/decky/fleet.ts';
import { claimRotation, finishRotation } from '../../src/decky/rotation-claim.ts';
import { serviceRoutes } from '../../src/decky/service-routes.ts';
import { createTestDatabase, ENGINES, quiet, type TestDatabase } from '../support/database.ts';
import { asViewer, authenticator, shell } from '../topology/support.ts';
import { insertFleetDecky, type SpySubstrate, send, spySubstrate, told } from './support.ts';

const EDGE = '/deckies/edge-1/services';

for (const engine of ENGINES) {
  describe(`services of the fleet (${engine})`, () => {
    let database: TestDatabase;
    let substrate: SpySubstrate;
    let commits: number;
    let handle: (request: Request) => Promise<Response>;

    beforeEach(async () => {
      database = await createTestDatabase(engine);
      substrate = spySubstrate();
      commits = 0;
      const app = shell().use(
        serviceRoutes({ db: database.db, substrate, logger: quiet, authenticator, onCommitted: () => (commits += 1) }),
      );
      handle = (request) => app.handle(request);
    });
    afterEach(() => database.dispose());

    const ask = async (method: string, path: string, body?: unknown, headers?: Record<string, string>) => {
      const response = await handle(send(method, path, body, headers));
      const answer: Record<string, unknown> = JSON.parse(await response.text());
      return { status: response.status, body: answer };
    };
    const row = () => database.db.selectFrom('fleet_deckies').selectAll().executeTakeFirstOrThrow();
    const services = async (): Promise<string[]> => JSON.parse((await row()).services);
    const configs = async () => JSON.parse((await row()).service_config);

    test('adding, configuring, applying and removing one: substrate, row and events agree', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const key = { decky_name: 'edge-1', topology_id: null };
      expect(await ask('POST', EDGE, { name: 'smtp', config: { mta: 'exim', x: 1 } })).toEqual({
        status: 201,
        body: { ...key, services: ['http', 'ssh', 'smtp'] },
      });
      expect(await configs()).toEqual({ smtp: { mta: 'exim' } });
      const setting = { ...key, service_name: 'ssh', config: { user: 'root' } };
      expect(await ask('PUT', `${EDGE}/ssh/config`, { config: { user: 'root' } })).toEqual({
        status: 200,
        body: { ...setting, recreated: false },
      });
      expect(await ask('POST', `${EDGE}/ssh/apply`, { config: { user: 'root' } })).toEqual({
        status: 201,
        body: { ...setting, recreated: true },
      });
      expect(await ask('DELETE', `${EDGE}/smtp`)).toEqual({ status: 200, body: { ...key, services: ['http', 'ssh'] } });
      expect(await services()).toEqual(['http', 'ssh']);
      expect(await configs()).toEqual({ ssh: { user: 'root' } });
      expect(substrate.calls).toEqual([
        'ensure edge-1 http,ssh,smtp',
        'remove edge-1',
        'ensure edge-1 http,ssh,smtp',
        'ensure edge-1 http,ssh',
      ]);
      expect((await told(database.db)).map(({ topic }) => topic)).toEqual([
        'decky.edge-1.service_added',
        'decky.edge-1.service_config_changed',
        'decky.edge-1.service_config_changed',
        'decky.edge-1.service_removed',
      ]);
      expect(commits).toBe(4);
      expect(await database.db.selectFrom('substrate_claims').selectAll().execute()).toEqual([]);
    });

    test.each([
      ['POST', EDGE, { name: 'http' }],
      ['DELETE', `${EDGE}/ssh`, undefined],
      ['PUT', `${EDGE}/ssh/config`, {}],
      ['POST', `${EDGE}/ssh/apply`, {}],
    ] as const)(
      '%s %s: 422 without any fleet, 404 without the decky, and for administrators',
      async (method, path, body) => {
        expect((await ask(method, path, body)).status).toBe(422);
        await insertFleetDecky(database.db, 'edge-2');
        expect((await ask(method, path, body)).status).toBe(404);
        expect((await ask(method, path, body, asViewer)).status).toBe(403);
        expect((await ask(method, path, body, {})).status).toBe(401);
      },
    );

    test.each<[string, string, string, unknown, number]>([
      ['there already', 'POST', EDGE, { name: 'ssh' }, 409],
      ['not there', 'DELETE', `${EDGE}/ftp`, undefined, 409],
      ['unknown', 'POST', EDGE, { name: 'gopher' }, 422],
      ['a wrong value', 'POST', EDGE, { name: 'smtp', config: { mta: 'qmail' } }, 400],
    ])('%s is refused and nothing changes', async (_, method, path, body, status) => {
      await insertFleetDecky(database.db, 'edge-1');
      const before = await row();
      expect((await ask(method, path, body)).status).toBe(status);
      expect(await row()).toEqual(before);
      expect([await told(database.db), substrate.calls, commits]).toEqual([[], [], 0]);
    });

    test('the last service stays: a decky without any could not be read', async () => {
      await insertFleetDecky(database.db, 'edge-1', { services: '["ssh"]' });
      expect((await ask('DELETE', `${EDGE}/ssh`)).status).toBe(409);
      expect(await services()).toEqual(['ssh']);
    });

    test('a substrate that fails: 503, the row stays, and the substrate gets what the row says', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      substrate.beforeEnsure = ({ services: wanted }) => {
        if (wanted.includes('ftp')) throw new Error('no such image');
      };
      expect((await ask('POST', EDGE, { name: 'ftp' })).status).toBe(503);
      expect(await services()).toEqual(['http', 'ssh']);
      expect(substrate.running.get('edge-1')?.services).toEqual(['http', 'ssh']);
      expect(await told(database.db)).toEqual([]);
    });

    test('edits of one decky at once: none is lost, and the substrate ends with all of them', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      const wanted = ['ftp', 'smb', 'sip'];
      const answers = await Promise.all(wanted.map((name) => ask('POST', EDGE, { name })));
      expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
      expect((await services()).sort()).toEqual(['ftp', 'http', 'sip', 'smb', 'ssh']);
      expect(substrate.running.get('edge-1')?.services).toEqual(await services());
    });

    test('a rotation that has yet to be written is not overtaken', async () => {
      await insertFleetDecky(database.db, 'edge-1');
      await requestRotation(database.db, 'edge-1', 'admin', Date.now());
      const terms = { claim: 'c', now: Date.now(), leaseMs: 60_000, random: () => 0 };
      const rotation = await claimRotation(database.db, 'edge-1', terms);
      expect((await ask('POST', EDGE, { name: 'sip' })).status).toBe(409);
      expect(await services()).toEqual(['http', 'ssh']);
      expect(substrate.running.get('edge-1')?.services).toEqual(['http', 'ssh']);
      if (typeof rotation !== 'object') throw new Error('no rotation was claimed');
      await finishRotation(database.db, rotation, { kind: 'succeeded' }, Date.now(), null);
      expect((await ask('POST', EDGE, { name: 'sip' })).status).toBe(201);
    });

    test('a rotation takes the configuration of services along that it takes away', async () => {
      await insertFleetDecky(database.db, 'edge-1', {
        service_pool: '["ftp"]',
        service_config: '{"ssh":{"user":"a"},"ftp":{"x":1}}',
      });
      await requestRotation(database.db, 'edge-1', 'admin', Date.now());
      const terms = { claim: 'c', now: Date.now(), leaseMs: 60_000, random: () => 0 };
      const rotation = await claimRotation(database.db, 'edge-1', terms);
      if (typeof rotation !== 'object') throw new Error('no rotation was claimed');
      await finishRotation(database.db, rotation, { kind: 'succeeded' }, Date.now(), null);
      expect(await services()).toEqual(['ftp']);
      expect(await configs()).toEqual({ ftp: { x: 1 } });
    });
  });
}
