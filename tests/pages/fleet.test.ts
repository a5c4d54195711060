import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { call } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import type { Shape } from './shape.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

/** Contract P2.1. The uuid, which the page of synthetic files looks for, and the state are ours. */
const DECKY: Shape = {
  uuid: 'text',
  state: 'text',
  name: 'text',
  ip: 'text',
  hostname: 'text',
  services: 'texts',
  distro: 'text',
  base_image: 'text',
  build_base: 'text',
  archetype: 'text?',
  service_config: 'object',
  nmap_os: 'text',
  mutate_interval: 'int?',
  last_mutated: 'number',
  last_login_attempt: 'number',
  host_uuid: 'text?',
};
const LIFECYCLE: Shape = {
  id: 'text',
  decky_name: 'text',
  host_uuid: 'text?',
  operation: 'text',
  status: 'text',
  error: 'text?',
  started_at: 'time',
  completed_at: 'time?',
  updated_at: 'time',
};

for (const engine of ENGINES) {
  describe(`the page of the fleet (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine, []);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('opens without deckies, deploys some, and lists them in the shape that it draws', async () => {
      const open = async () => {
        expect(await page.get('/system/deployment-mode')).toEqual({
          mode: 'unihost',
          role: 'master',
          swarm_host_count: 0,
        });
        const deckies = await page.get('/deckies', [DECKY]);
        expect(await page.get('/config')).toMatchObject({ role: 'viewer', deployment_limit: 10 });
        for (const list of ['archetypes', 'services']) await page.get(`/topologies/${list}`);
        return deckies;
      };
      expect(await open()).toEqual([]);
      const ini_content = '[decky-01]\nservices=ssh,http\nmutate_interval=30\n';
      const deployed = await call(page.node.url, page.admin, 'POST', '/deckies/deploy', { ini_content });
      expect(deployed.status).toBe(202);
      const { lifecycle_ids } = JSON.parse(await deployed.text());
      const { rows } = await page.get(`/deckies/lifecycle?ids=${lifecycle_ids[0]}`, { rows: [LIFECYCLE] });
      expect(rows).toHaveLength(1);
      expect(await open()).toMatchObject([{ name: 'decky-01', services: ['ssh', 'http'], mutate_interval: 30 }]);
    });
  });
}
