import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { openPage, type Page, pageOf } from './page.ts';
import { LIMIT_MS } from './support.ts';

/** What the editor of DECNET's dashboard does to a topology, in its order and with its bodies (contract P3, §5.4, §9). */
for (const engine of ENGINES) {
  describe(`the editor of a topology (${engine})`, () => {
    let plane: Plane;
    let node: App;
    let page: Page;
    beforeAll(async () => {
      plane = await createPlane(engine);
      node = await plane.node({}, { ROLES: 'api,relay,mutator,lifecycle' });
      page = pageOf(node, await plane.token(node.url));
    }, LIMIT_MS);
    afterAll(() => plane.stop());

    /** A topology from the wizard, with a network and a decky in it, dropped from the palette. */
    async function drawn(name: string) {
      const { body: made } = await page('POST', '/topologies/blank', { name, mode: 'unihost', target_host_uuid: null });
      const path = `/topologies/${made.id}`;
      const [{ subnet }] = await openPage(page, ['/topologies/next-subnet?base=10.0']);
      const lan = await done(
        201,
        page('POST', `${path}/lans`, { name: 'subnet-1', is_dmz: false, x: 380, y: 40, subnet }),
      );
      const decky_config = { archetype: 'linux-server' };
      const dropped = { name: 'decky-1', services: ['ssh', 'http'], x: 20, y: 40, decky_config };
      const decky = await done(201, page('POST', `${path}/deckies`, dropped));
      await done(201, page('POST', `${path}/edges`, { decky_uuid: decky.uuid, lan_id: lan.id }));
      return { path, lan, decky };
    }

    async function done(status: number, answering: ReturnType<Page>) {
      const { status: answered, body } = await answering;
      expect([answered, body?.detail]).toEqual([status, undefined]);
      return body;
    }
    const read = async (path: string) => (await openPage(page, [path]))[0];
    const deckyIn = async (path: string, name: string) =>
      (await read(path)).deckies.find((decky: { name: string }) => decky.name === name);

    test('draws a pending topology without an error, and shows it running as soon as it is deployed', async () => {
      const { path, lan, decky } = await drawn('drawn');
      const gateway = await deckyIn(path, 'dmz-gateway');
      // From the gateway to the new decky: the page does not know that the gateway has been put into the network.
      const link = { decky_uuid: gateway.uuid, lan_id: lan.id, is_bridge: true };
      await done(201, page('POST', `${path}/edges`, link));
      // To another network and back.
      const other = await done(201, page('POST', `${path}/lans`, { name: 'subnet-2', is_dmz: false, x: 720, y: 40 }));
      for (const [from, to] of [
        [lan.id, other.id],
        [other.id, lan.id],
      ]) {
        const { edges } = await read(path);
        const home = edges.find((edge: { decky_uuid: string; lan_id: string }) => edge.decky_uuid === decky.uuid);
        expect(home.lan_id).toBe(from);
        await done(204, page('DELETE', `${path}/edges/${home.id}`));
        await done(201, page('POST', `${path}/edges`, { decky_uuid: decky.uuid, lan_id: to }));
      }
      // A service is configured; then the gateway is promoted with what the page had read before that.
      const before = await deckyIn(path, 'decky-1');
      const config = { response_code: 404 };
      await done(200, page('PUT', `${path}/deckies/decky-1/services/http/config`, { config }));
      const promoted = { decky_config: { ...before.decky_config, forwards_l3: true } };
      const saved = await done(200, page('PATCH', `${path}/deckies/${decky.uuid}`, promoted));
      expect(saved.decky_config).toMatchObject({ forwards_l3: true, service_config: { http: config } });
      await done(202, page('POST', `${path}/deploy`, {}));
      expect((await read(path)).topology.status).toBe('active');
    });

    test('lets what cannot be deployed be mended', async () => {
      const { path } = await drawn('half');
      const lost = await done(201, page('POST', `${path}/deckies`, { name: 'lost', services: [], x: 1, y: 1 }));
      const refused = await page('POST', `${path}/deploy`, {});
      expect(refused).toEqual({ status: 409, body: { detail: expect.stringContaining('a decky is in no LAN') } });
      await done(204, page('DELETE', `${path}/deckies/${lost.uuid}`));
      await done(202, page('POST', `${path}/deploy`, {}));
      expect((await read(path)).topology.status).toBe('active');
    });

    test('commits what was staged on a running topology, version by version', async () => {
      const { path } = await drawn('staged');
      await done(202, page('POST', `${path}/deploy`, {}));
      const opened = await read(path);
      const gateway = opened.deckies.find((decky: { name: string }) => decky.name === 'dmz-gateway');
      const staged = [
        ['add_lan', { name: 'subnet-2', is_dmz: false, x: 720, y: 40, subnet: '10.77.0.0/24' }],
        ['add_decky', { name: 'decky-2', lan: 'subnet-2', services: ['ftp'], archetype: 'linux-server', x: 12, y: 40 }],
        ['attach_decky', { decky: 'dmz-gateway', lan: 'subnet-2' }],
        ['update_decky', { decky: 'decky-2', services: ['ftp', 'ssh'] }],
        [
          'update_decky',
          {
            decky: 'dmz-gateway',
            patch: { decky_config: { ...gateway.decky_config, forwards_l3: false } },
            force: true,
          },
        ],
      ] as const;
      for (const [index, [op, payload]] of staged.entries()) {
        const mutation = { op, payload, expected_version: opened.topology.version + index };
        expect((await done(202, page('POST', `${path}/mutations`, mutation))).state).toBe('pending');
      }
      // Somebody else's version: refused, and the page goes on from the one that it reads again.
      const late = { op: 'remove_decky', payload: { decky: 'decky-2' }, expected_version: opened.topology.version };
      expect(await page('POST', `${path}/mutations`, late)).toMatchObject({ status: 409 });
      const { version } = (await read(path)).topology;
      expect(version).toBe(opened.topology.version + staged.length);
      await until('what was staged to be applied', async () => {
        const rows = await read(`${path}/mutations`);
        return rows.every(({ state }: { state: string }) => state === 'applied');
      });
      expect(await deckyIn(path, 'decky-2')).toMatchObject({ services: ['ftp', 'ssh'], ip: '10.77.0.2' });
      const demoted = (await deckyIn(path, 'dmz-gateway')).decky_config;
      expect(demoted).toMatchObject({ forwards_l3: false, ips_by_lan: { 'subnet-2': '10.77.0.3' } });
      expect(demoted.decky_config).toBeUndefined();
    });
  });
}
