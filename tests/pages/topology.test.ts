import { afterAll, beforeAll, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { openPage, type Page, pageOf } from './page.ts';

/** The requests of the pages of topologies, of the settings and of what lies outside (contract P0, P3, P4, P9). */
let plane: Plane;
let node: App;
let page: Page;
let viewer: Page;
beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node({}, { ROLES: 'api,relay,mutator,lifecycle' });
  page = pageOf(node, await plane.token(node.url));
  viewer = pageOf(node, await plane.token(node.url, 'viewer'));
});
afterAll(() => plane.stop());

test('the list and the editor of topologies', async () => {
  const [list, hosts] = await openPage(page, ['/topologies/', '/swarm/hosts']);
  expect([list.data, hosts]).toEqual([[], []]);
  const agent = { name: 'a', mode: 'agent', target_host_uuid: crypto.randomUUID() };
  expect(await page('POST', '/topologies/blank', agent)).toMatchObject({ status: 400 });
  const { body: made } = await page('POST', '/topologies/blank', { name: 'office' });
  const editor = [`/topologies/${made.id}`, '/topologies/services', '/topologies/archetypes', '/swarm/hosts'];
  const [topology] = await openPage(page, editor);
  expect(topology.deckies).toHaveLength(1);
  expect((await page('POST', `/topologies/${made.id}/deploy`)).status).toBe(202);
  const status = async () => (await openPage(page, [`/topologies/${made.id}`]))[0].topology.status;
  await until('the deployment', async () => (await status()) === 'active');

  const services = `/topologies/${made.id}/deckies/dmz-gateway/services`;
  const added = await page('POST', services, { name: 'http', config: { response_code: 404 } });
  expect(added).toMatchObject({ status: 201, body: { services: ['ssh', 'http'] } });
  expect((await page('DELETE', `${services}/http`)).body).toMatchObject({ services: ['ssh'] });
  // Nothing of its configuration is left behind at which the next mutation would fail.
  const mutation = { op: 'update_lan', payload: { name: 'dmz', x: 80 }, expected_version: 1 };
  expect((await page('POST', `/topologies/${made.id}/mutations`, mutation)).status).toBe(202);
  await until('the mutation', async () => {
    const [rows] = await openPage(page, [`/topologies/${made.id}/mutations`]);
    return rows[0].state === 'applied';
  });
  expect(await status()).toBe('active');
  const tarpit = `/topologies/${made.id}/deckies/dmz-gateway/tarpit`;
  expect((await page('POST', tarpit, { ports: [22], delay_ms: 60_000 })).status).toBe(201);
  expect((await page('DELETE', tarpit)).status).toBe(200);

  const personas = `/topologies/${made.id}/personas`;
  const [before] = await openPage(viewer, [personas]);
  expect(before).toMatchObject({ topology_name: 'office', personas: [] });
  const persona = { name: 'Anna', email: 'anna@office.example', role: 'Clerk' };
  const saved = await page('PUT', personas, { personas: [persona] });
  expect(saved.body.personas).toMatchObject([persona]);
  expect(await page('POST', '/topologies/reap-orphans', {})).toEqual({
    status: 200,
    body: {
      live_prefixes: [made.id.slice(0, 8)],
      orphan_prefixes: [],
      containers_removed: [],
      networks_removed: [],
      errors: [],
    },
  });
});

test('the settings page with its tabs', async () => {
  const [config, registry, rules, llm] = await openPage(page, ['/config', '/workers', '/ttp/rules', '/realism/llm']);
  expect(config).toMatchObject({ role: 'admin', users: [{ role: 'admin' }, { role: 'viewer' }] });
  expect([registry.workers.length, rules, llm.api_key_set]).toEqual([19, [], false]);
  for (const [path, body] of [
    ['/config/deployment-limit', { deployment_limit: 25 }],
    ['/config/global-mutation-interval', { global_mutation_interval: '1d' }],
  ] as const) {
    expect((await page('PUT', path, body)).status).toBe(200);
    expect((await openPage(page, ['/config']))[0]).toMatchObject(body);
  }
  const self = config.users.find(({ role }: { role: string }) => role === 'admin').uuid;
  expect((await page('PUT', `/config/users/${self}/role`, { role: 'viewer' })).status).toBe(403);
  expect((await page('DELETE', '/config/reinit')).body.detail).toContain('developer mode');
});

test('no page outside of the live plane meets an error of ours, nor a shape that would blank it', async () => {
  const pages = [
    '/bounty?limit=50&offset=0',
    '/credentials?limit=50&offset=0',
    '/credential-reuse?limit=1000',
    '/canary/tokens',
    '/canary/blobs',
    '/topologies/?status=active',
    '/realism/personas',
    '/realism/synthetic-files?limit=50&offset=0',
    '/realism/config',
    '/swarm/hosts',
    '/swarm-updates/hosts',
    '/webhooks/',
  ];
  await openPage(page, pages);
  expect((await page('POST', '/canary/tokens', { kind: 'x' })).status).toBe(501);
  expect((await viewer('POST', '/canary/tokens', { kind: 'x' })).status).toBe(403);
});
