import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, login, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { openPage, type Page, pageOf } from './page.ts';
import { faultsOf, type Shape } from './shape.ts';
import { LIMIT_MS, type Visit, visit } from './support.ts';

const CONFIG: Shape = { role: 'text', deployment_limit: 'int', global_mutation_interval: 'text' };
const USERS: Shape = {
  ...CONFIG,
  users: [{ uuid: 'text', username: 'text', role: 'text', must_change_password: 'bool' }],
};
const WORKERS: Shape = {
  workers: [
    {
      name: 'text',
      status: 'text',
      last_heartbeat_ts: 'seconds?',
      seconds_since: 'number?',
      extra: 'object',
      installed: 'bool',
    },
  ],
  generated_at: 'seconds',
  bus_connected: 'bool',
};

for (const engine of ENGINES) {
  describe(`the page of settings (${engine})`, () => {
    let page: Visit;
    beforeAll(async () => {
      page = await visit(engine, []);
    }, LIMIT_MS);
    afterAll(() => page.stop());

    test('opens with the settings; with users for administrators only', async () => {
      await page.get('/config', CONFIG);
      expect((await page.get('/config', USERS, page.admin)).users.length).toBeGreaterThan(1);
    });

    test('shows workers, rules and the language model', async () => {
      await page.tell([['system.sniffer.health', 'health', { worker: 'sniffer', ts: Date.now() / 1000, seen: 3 }]]);
      const { workers, bus_connected } = await page.get('/workers', WORKERS);
      expect(workers).toHaveLength(19);
      expect(bus_connected).toBe(true);
      expect(workers.find(({ name }: { name: string }) => name === 'sniffer')).toMatchObject({
        status: 'ok',
        extra: { seen: 3 },
      });
      expect(await page.get('/ttp/rules')).toEqual([]);
      await page.get('/realism/llm', {
        provider: 'text',
        base_url: 'text?',
        model: 'text',
        timeout: 'int',
        api_key_set: 'bool',
      });
    });
  });
}

/** What the page's forms send, in a user's order, and what they show after each (contract P4.2, §4.3). */
for (const engine of ENGINES) {
  describe(`the forms of the page of settings (${engine})`, () => {
    let plane: Plane;
    let node: App;
    let page: Page;
    let viewer: Page;
    beforeAll(async () => {
      plane = await createPlane(engine);
      node = await plane.node();
      page = pageOf(node, await plane.token(node.url));
      viewer = pageOf(node, await plane.token(node.url, 'viewer'));
    });
    afterAll(() => plane.stop());

    /** A refusal that the page shows as it is. */
    const refused = async (answering: ReturnType<Page>, status: number, says: string) => {
      const { status: got, body } = await answering;
      expect([got, body]).toEqual([status, { detail: expect.stringContaining(says) }]);
    };
    const userNamed = async (name: string) => {
      const [{ users }] = await openPage(page, ['/config']);
      expect(faultsOf({ users }, { users: USERS.users ?? 'list' })).toEqual([]);
      return users.find(({ username }: { username: string }) => username === name);
    };

    test('limit and interval: what was saved is shown at once, to everybody', async () => {
      expect((await page('PUT', '/config/deployment-limit', { deployment_limit: 42 })).status).toBe(200);
      expect((await page('PUT', '/config/global-mutation-interval', { global_mutation_interval: '6M' })).status).toBe(
        200,
      );
      const saved = { deployment_limit: 42, global_mutation_interval: '6M' };
      for (const whose of [page, viewer]) expect((await whose('GET', '/config')).body).toMatchObject(saved);
      await refused(page('PUT', '/config/deployment-limit', { deployment_limit: 501 }), 422, '500');
      await refused(page('PUT', '/config/global-mutation-interval', { global_mutation_interval: '0m' }), 422, '30m');
      await refused(viewer('PUT', '/config/deployment-limit', { deployment_limit: 5 }), 403, 'permissions');
    });

    test('users: one is made, made an administrator, given a new password, and deleted', async () => {
      const made = { username: 'grace', password: 'a-first-password', role: 'viewer' };
      expect((await page('POST', '/config/users', made)).status).toBe(200);
      const grace = await userNamed('grace');
      expect(grace).toMatchObject({ role: 'viewer', must_change_password: true });
      const path = `/config/users/${grace.uuid}`;
      expect((await page('PUT', `${path}/role`, { role: 'admin' })).status).toBe(200);
      expect((await userNamed('grace')).role).toBe('admin');
      expect((await page('PUT', `${path}/reset-password`, { new_password: 'a-second-password' })).status).toBe(200);
      expect(await login(node.url, 'grace', 'a-second-password')).toBeString();
      expect((await page('DELETE', path)).status).toBe(200);
      expect(await userNamed('grace')).toBeUndefined();
      await refused(page('DELETE', path), 404, 'User not found');
    });

    test('users: what is refused is told in words', async () => {
      const user = { username: 'alan', password: 'long-enough-word', role: 'viewer' };
      // The form takes eight characters.
      await refused(page('POST', '/config/users', { ...user, password: 'eight-ch' }), 400, 'at least 12');
      await refused(page('POST', '/config/users', { ...user, username: 'admin-user' }), 409, 'exists');
      const me = await userNamed('admin-user');
      await refused(page('PUT', `/config/users/${me.uuid}/role`, { role: 'viewer' }), 403, 'own role');
      await refused(page('DELETE', `/config/users/${me.uuid}`), 403, 'own user');
      await refused(page('PUT', `/config/users/${me.uuid}/reset-password`, { new_password: 'eight-ch' }), 400, '12');
      await refused(viewer('POST', '/config/users', user), 403, 'permissions');
    });

    test('purging is offered where developers are, to administrators', async () => {
      await refused(page('DELETE', '/config/reinit'), 403, 'eveloper mode');
      expect((await page('GET', '/config')).body).not.toHaveProperty('developer_mode');
      const other = await plane.node({}, { DECNET_DEVELOPER: 'true' });
      const developer = pageOf(other, await plane.token(other.url));
      expect((await developer('GET', '/config')).body.developer_mode).toBe(true);
      const guest = pageOf(other, await plane.token(other.url, 'viewer'));
      expect((await guest('GET', '/config')).body).not.toHaveProperty('developer_mode');
      await refused(guest('DELETE', '/config/reinit'), 403, 'permissions');
      const purged = await developer('DELETE', '/config/reinit');
      expect(purged.status).toBe(200);
      const count = expect.any(Number);
      const deleted = { logs: count, bounties: 0, credentials: 0, attackers: count };
      expect(purged.body).toEqual({ message: 'Data purged', deleted });
    });
  });
}
