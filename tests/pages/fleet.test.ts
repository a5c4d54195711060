import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { openPage, type Page, pageOf } from './page.ts';

/** The requests of the fleet page and of its wizard (contract P0, P2), in their order, against what really runs. */
for (const engine of ENGINES) {
  describe(`the fleet page (${engine})`, () => {
    let plane: Plane;
    let node: App;
    let page: Page;
    let viewer: Page;
    beforeAll(async () => {
      plane = await createPlane(engine);
      node = await plane.node({}, { ROLES: 'api,relay,rotator' });
      page = pageOf(node, await plane.token(node.url));
      viewer = pageOf(node, await plane.token(node.url, 'viewer'));
    });
    afterAll(() => plane.stop());

    test('opens empty, deploys, shows, edits, mutates and tears down', async () => {
      const opened = ['/deckies', '/config', '/topologies/archetypes', '/topologies/services'];
      const [mode] = await openPage(viewer, ['/system/deployment-mode']);
      expect(mode).toEqual({ mode: 'unihost', role: 'master', swarm_host_count: 0 });
      const [deckies, config, { archetypes }, { services, fleet_singletons }] = await openPage(viewer, opened);
      expect([deckies, fleet_singletons]).toEqual([[], ['sniffer']]);
      expect(config).toMatchObject({ role: 'viewer', deployment_limit: 10, global_mutation_interval: '30m' });
      expect([archetypes.length > 0, services.includes('ssh')]).toEqual([true, true]);

      const [schema] = await openPage(viewer, ['/topologies/services/https/schema']);
      expect(schema).toMatchObject({ name: 'https', ports: [443], fleet_singleton: false });
      const ini = '[edge-01]\nservices=ssh,https\nmutate_interval=30\n[edge-01.https]\nhttp_versions=http/1.1,http/3\n';
      const deployed = await page('POST', '/deckies/deploy', { ini_content: ini, replace_fleet: false });
      expect(deployed.status).toBe(202);
      const [id] = deployed.body.lifecycle_ids;
      await until('the deployment', async () => {
        const { rows } = (await page('GET', `/deckies/lifecycle?ids=${id}`)).body;
        return rows.length === 1 && rows[0].status === 'succeeded';
      });
      const row = async () => (await openPage(viewer, ['/deckies']))[0][0];
      expect(await row()).toMatchObject({
        name: 'edge-01',
        services: ['ssh', 'https'],
        mutate_interval: 30,
        state: 'running',
        service_config: { https: { http_versions: ['http/1.1', 'http/3'] } },
      });
      expect((await row()).last_mutated * 1000).toBeWithin(Date.now() - 60_000, Date.now() + 1000);

      const added = await page('POST', '/deckies/edge-01/services', { name: 'smtp', config: { mta: 'exim' } });
      expect(added).toMatchObject({ status: 201, body: { services: ['ssh', 'https', 'smtp'] } });
      const config2 = { config: { user: 'root', password: '' } };
      const configured = await page('PUT', '/deckies/edge-01/services/ssh/config', config2);
      expect(configured).toMatchObject({ status: 200, body: { config: { user: 'root' }, recreated: false } });
      const applied = await page('POST', '/deckies/edge-01/services/ssh/apply', config2);
      expect(applied).toMatchObject({ status: 201, body: { recreated: true } });
      expect(await page('DELETE', '/deckies/edge-01/services/smtp')).toMatchObject({ status: 200 });
      // Visible at once, in the one list that there is.
      expect((await row()).service_config).toEqual({
        https: { http_versions: ['http/1.1', 'http/3'] },
        ssh: { user: 'root' },
      });

      // The page sends a number of minutes.
      expect((await page('PUT', '/deckies/edge-01/mutate-interval', { mutate_interval: 45 })).status).toBe(200);
      expect((await row()).mutate_interval).toBe(45);
      expect((await page('PUT', '/deckies/edge-01/mutate-interval', { mutate_interval: null })).status).toBe(200);
      expect((await row()).mutate_interval).toBeNull();

      const before = await row();
      expect((await page('POST', '/deckies/edge-01/mutate', {})).status).toBe(202);
      await until('the mutation', async () => (await row()).last_mutated > before.last_mutated);

      expect((await page('POST', '/deckies/edge-01/tarpit', { ports: [22], delay_ms: 500 })).status).toBe(201);
      expect((await viewer('GET', '/deckies/edge-01/tarpit')).body).toMatchObject({ rule: { ports: [22] } });
      expect((await page('DELETE', '/deckies/edge-01/tarpit')).status).toBe(200);

      expect(await page('DELETE', '/deckies/edge-01')).toEqual({ status: 204, body: undefined });
      expect(await openPage(viewer, ['/deckies'])).toEqual([[]]);
    });

    test('the limit of the settings page holds for the next deployment', async () => {
      expect((await page('PUT', '/config/deployment-limit', { deployment_limit: 1 })).status).toBe(200);
      expect((await openPage(viewer, ['/config']))[0].deployment_limit).toBe(1);
      const refused = await page('POST', '/deckies/deploy', { ini_content: '[a]\n[b]' });
      expect(refused).toEqual({ status: 409, body: { detail: expect.stringContaining('limit') } });
    });
  });
}
