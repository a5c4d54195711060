import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { newTopology } from '../integration/support.ts';
import { call } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { envelope, type Shape } from './shape.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

/** Contract §5.9. */
const SUMMARY: Shape = {
  id: 'text',
  name: 'text',
  mode: 'text',
  target_host_uuid: 'text?',
  status: 'text',
  version: 'int',
  needs_resync: 'bool',
  created_at: 'time',
  status_changed_at: 'time',
  email_personas: 'json',
  language_default: 'text',
};
const LAN: Shape = {
  id: 'text',
  topology_id: 'text',
  name: 'text',
  subnet: 'text',
  is_dmz: 'bool',
  docker_network_id: 'text?',
  x: 'number?',
  y: 'number?',
};
const DECKY: Shape = {
  uuid: 'text',
  topology_id: 'text',
  name: 'text',
  services: 'texts',
  decky_config: 'object?',
  ip: 'text?',
  state: 'text',
  last_error: 'text?',
  x: 'number?',
  y: 'number?',
};
const EDGE: Shape = {
  id: 'text',
  topology_id: 'text',
  decky_uuid: 'text',
  lan_id: 'text',
  is_bridge: 'bool',
  forwards_l3: 'bool',
};

for (const engine of ENGINES) {
  describe(`the pages of topologies (${engine})`, () => {
    let page: Visit;
    let id: string;
    beforeAll(async () => {
      page = await visit(engine, []);
      const made = await call(page.node.url, page.admin, 'POST', '/topologies/blank', { name: 'harbour' });
      id = JSON.parse(await made.text()).id;
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('the list asks for topologies and hosts; a viewer may not see hosts, and is told so', async () => {
      expect((await page.get('/topologies/', envelope(SUMMARY))).total).toBe(1);
      expect(await page.get('/swarm/hosts', undefined, page.admin)).toEqual([]);
      expect(await page.refused('/swarm/hosts')).toBe(403);
      // The page of canaries asks for those that run.
      expect((await page.get('/topologies/?status=active', envelope(SUMMARY))).total).toBe(0);
    });

    test('the editor asks for one with its services and archetypes, and a place for the next network', async () => {
      const detail = await page.get(`/topologies/${id}`, {
        topology: SUMMARY,
        lans: [LAN],
        deckies: [DECKY],
        edges: [EDGE],
      });
      expect(detail.lans).toHaveLength(1);
      expect(detail.deckies[0].decky_config).toMatchObject({ name: 'dmz-gateway', ips_by_lan: expect.any(Object) });
      for (const list of ['services', 'archetypes']) await page.get(`/topologies/${list}`);
      await page.get('/topologies/next-subnet?base=10.0', { subnet: 'text' });
      await page.get(`/topologies/${id}/lans/${detail.lans[0].id}/next-ip`, { subnet: 'text', ip: 'text' });
      const active = await newTopology(page.plane);
      const stream = await page.stream(`/topologies/${active}/events`);
      await stream.untilFrames(1);
      expect(JSON.parse(stream.frames[0]?.data ?? '')).toEqual({
        topology_id: active,
        status: 'active',
        in_flight: [],
      });
    });

    test('the personas of one are read, written and read again', async () => {
      const shape: Shape = { topology_id: 'text', topology_name: 'text', language_default: 'text', personas: 'list' };
      expect(await page.get(`/topologies/${id}/personas`, shape)).toMatchObject({
        topology_name: 'harbour',
        personas: [],
      });
      const personas = [{ name: 'Ada', email: 'ada@harbour.example', role: 'captain' }];
      const written = await call(page.node.url, page.admin, 'PUT', `/topologies/${id}/personas`, { personas });
      expect(written.status).toBe(200);
      expect((await page.get(`/topologies/${id}/personas`, shape)).personas).toMatchObject(personas);
    });

    test('what a topology leaves behind is looked for', async () => {
      const swept = await call(page.node.url, page.admin, 'POST', '/topologies/reap-orphans', {});
      expect(JSON.parse(await swept.text())).toMatchObject({
        orphan_prefixes: [],
        containers_removed: [],
        networks_removed: [],
        errors: [],
      });
    });
  });
}
