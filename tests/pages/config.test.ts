import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ENGINES } from '../support/database.ts';
import type { Shape } from './shape.ts';
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
