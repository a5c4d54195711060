import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { until } from '../support/until.ts';
import { openPage, type Page, pageOf } from './page.ts';
import { faultsOf, type Shape } from './shape.ts';
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

/** What the wizard writes: a section for each decky, and one for each service that was configured (contract P2.4). */
const WIZARD_INI = `[decky-01]
services=ssh,http
mutate_interval=30

[decky-01.http]
response_code=403
http_versions=http/1.1,http/2
custom_body=b64:${btoa('<h1>\nhello</h1>')}

[decky-02]
services=ssh,http
mutate_interval=30
`;
const SCHEMA_FIELD: Shape = {
  key: 'text',
  label: 'text',
  type: 'text',
  default: 'any',
  secret: 'bool',
  help: 'text?',
  placeholder: 'text?',
  enum: 'any',
};

type FormValue = string | number | boolean | readonly string[];

/** The values of a form that nobody has touched, as the page sends them: without what is empty. */
function openedForm(fields: readonly { key: string; type: string; default: FormValue | null }[]) {
  const values = fields.map(({ key, type, default: value }): [string, FormValue] => [
    key,
    type === 'bool' ? value === true : (value ?? ''),
  ]);
  return Object.fromEntries(
    values.filter(([, value]) => value !== '' && !(Array.isArray(value) && value.length === 0)),
  );
}

/** As the wizard writes them: everything as text, lists with commas. */
const iniLines = (form: Record<string, FormValue>) =>
  Object.entries(form)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');

/** The page's cards, wizard and dialogs, in a user's order: what each sends, tells apart, and shows afterwards. */
for (const engine of ENGINES) {
  describe(`the actions of the page of the fleet (${engine})`, () => {
    let plane: Plane;
    let page: Page;
    let viewer: Page;
    let url: string;
    let admin: string;
    beforeAll(async () => {
      plane = await createPlane(engine);
      const node = await plane.node({}, { ROLES: 'api,relay,rotator' });
      url = node.url;
      admin = await plane.token(url);
      page = pageOf(node, admin);
      viewer = pageOf(node, await plane.token(node.url, 'viewer'));
    });
    afterAll(() => plane.stop());

    const cards = async () => {
      const [deckies] = await openPage(viewer, ['/deckies']);
      expect(faultsOf({ deckies }, { deckies: [DECKY] })).toEqual([]);
      return deckies;
    };
    const card = async (name: string) => (await cards()).find((decky: { name: string }) => decky.name === name);
    const refused = async (answering: ReturnType<Page>, status: number, says: string) => {
      const { status: got, body } = await answering;
      expect([got, body]).toEqual([status, { detail: expect.stringContaining(says) }]);
    };
    /** Asks as the page does, until all that it waits for has ended. */
    const ended = (ids: readonly string[]) =>
      until('the end', async () => {
        const [{ rows }] = await openPage(page, [`/deckies/lifecycle?${ids.map((id) => `ids=${id}`).join('&')}`]);
        expect(faultsOf({ rows }, { rows: [LIFECYCLE] })).toEqual([]);
        const isDone = rows.every(({ status }: { status: string }) => ['succeeded', 'failed'].includes(status));
        return rows.length === ids.length && isDone && rows.map((row: { status: string }) => row.status);
      });

    test('the wizard deploys, waits until both run, and is told when a name is taken', async () => {
      const { status, body } = await page('POST', '/deckies/deploy', { ini_content: WIZARD_INI, replace_fleet: false });
      expect([status, body.lifecycle_ids.length]).toEqual([202, 2]);
      expect(await ended(body.lifecycle_ids)).toEqual(['succeeded', 'succeeded']);
      expect((await cards()).map(({ name }: { name: string }) => name)).toEqual(['decky-01', 'decky-02']);
      expect(await card('decky-01')).toMatchObject({
        mutate_interval: 30,
        service_config: {
          http: { response_code: 403, http_versions: ['http/1.1', 'http/2'], custom_body: '<h1>\nhello</h1>' },
        },
      });
      await refused(
        page('POST', '/deckies/deploy', { ini_content: '[decky-02]', replace_fleet: false }),
        409,
        'decky-02',
      );
      await refused(page('POST', '/deckies/deploy', { ini_content: '[x]\nservices=kerberos' }), 409, 'kerberos');
      await refused(viewer('POST', '/deckies/deploy', { ini_content: '[x]' }), 403, 'permissions');
    });

    test('a service is added after its form, configured, applied and removed; the card shows it at once', async () => {
      const { body: schema } = await page('GET', '/topologies/services/ftp/schema');
      // Without fields the dialog adds it at once.
      expect(schema).toMatchObject({ name: 'ftp', fields: [] });
      const added = await page('POST', '/deckies/decky-01/services', { name: 'ftp', config: {} });
      expect([added.status, added.body.services]).toEqual([201, ['ssh', 'http', 'ftp']]);
      expect((await card('decky-01')).services).toEqual(['ssh', 'http', 'ftp']);
      const { body: form } = await viewer('GET', '/topologies/services/http/schema');
      const { fields, ...head } = form;
      expect(faultsOf({ fields }, { fields: [SCHEMA_FIELD] })).toEqual([]);
      expect(head).toEqual({ name: 'http', ports: [80, 443], fleet_singleton: false });
      const path = '/deckies/decky-01/services/http';
      const saved = await page('PUT', `${path}/config`, { config: { response_code: 500 } });
      expect([saved.status, saved.body.config, saved.body.recreated]).toEqual([200, { response_code: 500 }, false]);
      const applied = await page('POST', `${path}/apply`, { config: { response_code: 404 } });
      expect([applied.status, applied.body.config, applied.body.recreated]).toEqual([
        201,
        { response_code: 404 },
        true,
      ]);
      // The open form is filled from the card.
      expect((await card('decky-01')).service_config).toEqual({ http: { response_code: 404 } });
      await refused(page('PUT', `${path}/config`, { config: { response_code: 'oops' } }), 400, 'response_code');
      await refused(page('POST', '/deckies/decky-01/services', { name: 'ftp', config: {} }), 409, 'ftp');
      await refused(page('GET', '/topologies/services/kerberos/schema'), 404, 'not found');
      const removed = await page('DELETE', '/deckies/decky-01/services/http');
      expect([removed.status, removed.body.services]).toEqual([200, ['ssh', 'ftp']]);
      expect(await card('decky-01')).toMatchObject({ services: ['ssh', 'ftp'], service_config: {} });
    });

    test('the dialog of a service without settings adds it twice, and its card shows no error for that', async () => {
      const add = (path: string, headers: Record<string, string> = {}) =>
        fetch(`${url}/api/v1/deckies/${path}/services`, {
          method: 'POST',
          headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json', ...headers },
          body: JSON.stringify({ name: 'smb', config: {} }),
        });
      const browser = { origin: url };
      const twice = await Promise.all([add('decky-01', browser), add('decky-01', browser)]);
      const services = ['ssh', 'ftp', 'smb'];
      for (const answer of [...twice, await add('decky-01', browser)]) {
        expect([answer.status, await answer.json()]).toMatchObject([201, { services }]);
      }
      expect((await card('decky-01')).services).toEqual(services);
      // A program, and a page that adds what was there already, are told.
      expect((await add('decky-01')).status).toBe(409);
      expect((await page('POST', '/deckies/decky-02/services', { name: 'smb', config: {} })).status).toBe(201);
      expect((await add('decky-02', browser)).status).toBe(409);
    });

    test('every service takes its form as it opens, from the card and from the wizard', async () => {
      const [{ services }] = await openPage(page, ['/topologies/services']);
      const forms = new Map<string, Record<string, FormValue>>();
      for (const service of services) {
        const [{ fields }] = await openPage(page, [`/topologies/services/${service}/schema`]);
        forms.set(service, openedForm(fields));
      }
      const sections = [...forms].map(([service, form]) => `[all.${service}]\n${iniLines(form)}`);
      const ini_content = `[all]\nservices=${services.join()}\n${sections.join('')}`;
      const { status, body } = await page('POST', '/deckies/deploy', { ini_content, replace_fleet: false });
      expect([status, body]).toMatchObject([202, { mode: 'unihost' }]);
      const filled = Object.fromEntries([...forms].filter(([, form]) => Object.keys(form).length > 0));
      expect((await card('all')).service_config).toEqual(filled);
      for (const [service, config] of forms) {
        const saved = await page('PUT', `/deckies/all/services/${service}/config`, { config });
        // What differs would be shown as unsaved for ever.
        expect([service, saved.status, saved.body.config]).toEqual([service, 200, config]);
      }
      expect((await page('DELETE', '/deckies/all')).status).toBe(204);
    });

    test('an interval in minutes is set and taken away', async () => {
      for (const minutes of [5, 240, null]) {
        const { status } = await page('PUT', '/deckies/decky-01/mutate-interval', { mutate_interval: minutes });
        expect([status, (await card('decky-01')).mutate_interval]).toEqual([200, minutes]);
      }
      await refused(page('PUT', '/deckies/nobody/mutate-interval', { mutate_interval: 5 }), 404, 'nobody');
    });

    test('a mutation that somebody forces is done soon, and dated', async () => {
      const before = (await card('decky-02')).last_mutated;
      const { status, body } = await page('POST', '/deckies/decky-02/mutate', {});
      expect([status, await ended(body.lifecycle_ids)]).toEqual([202, ['succeeded']]);
      expect((await card('decky-02')).last_mutated).toBeGreaterThan(before);
      await refused(viewer('POST', '/deckies/decky-02/mutate', {}), 403, 'permissions');
    });

    test('a tarpit is put up and taken away, also when there is none', async () => {
      const tarpit = '/deckies/decky-01/tarpit';
      expect((await page('POST', tarpit, { ports: [22, 80], delay_ms: 30_000 })).status).toBe(201);
      await refused(page('POST', tarpit, { ports: [22], delay_ms: 100 }), 409, 'remove it first');
      for (const _ of [1, 2]) expect((await page('DELETE', tarpit)).status).toBe(200);
      await refused(page('POST', '/deckies/nobody/tarpit', { ports: [22], delay_ms: 100 }), 404, 'nobody');
    });

    test('a decky is torn down, and the last one ends the deployment', async () => {
      expect(await page('DELETE', '/deckies/decky-01')).toEqual({ status: 204, body: undefined });
      expect((await cards()).map(({ name }: { name: string }) => name)).toEqual(['decky-02']);
      await refused(page('DELETE', '/deckies/decky-01'), 404, 'decky-01');
      await refused(viewer('DELETE', '/deckies/decky-02'), 403, 'permissions');
      expect((await page('DELETE', '/deckies/decky-02')).status).toBe(204);
      expect(await cards()).toEqual([]);
      await refused(page('DELETE', '/deckies/decky-02'), 404, 'deployment');
    });
  });
}
