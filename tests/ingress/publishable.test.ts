import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { insertTopology } from '../topology/support.ts';

const TIMEOUT_MS = 20_000;
/** As text: no client library writes it. It can be parsed, and not written again. */
const nest = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
/** One and a half MB of request that has more than two MiB on the wire. */
const swelling = `{"a":[${Array.from({ length: 49_000 }, () => '1e20').join()}],"b":"${'x'.repeat(1_200_000)}"}`;

for (const engine of ENGINES) {
  describe(`every way in takes only what can be published (${engine})`, () => {
    let plane: Plane;
    let node: App;
    let token: string;
    beforeAll(async () => {
      plane = await createPlane(engine);
      node = await plane.node();
      token = await plane.token(node.url);
      const { db } = plane.database;
      await insertTopology(db, 't1');
      await db
        .insertInto('topology_deckies')
        .values({
          uuid: 'd1',
          topology_id: 't1',
          name: 'web',
          services: '["ssh"]',
          decky_config: null,
          ip: null,
          state: 'running',
          last_error: null,
          compose_hash: null,
          last_seen: null,
          updated_at: '',
          x: null,
          y: null,
        })
        .execute();
    }, TIMEOUT_MS);
    afterAll(() => plane.stop());

    const send = (method: string, path: string, body: string) =>
      fetch(`${node.url}/api/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body,
      });
    async function written() {
      const { db } = plane.database;
      const config = await db.selectFrom('topology_deckies').select(['services', 'decky_config']).execute();
      const rows = await Promise.all(
        (['outbox', 'topology_mutations', 'topology_status_events'] as const).map((table) =>
          db.selectFrom(table).selectAll().execute(),
        ),
      );
      const { version } = await db.selectFrom('topologies').select('version').executeTakeFirstOrThrow();
      return { config, rows, version };
    }

    const WAYS: [name: string, method: string, path: string, body: (payload: string) => string][] = [
      ['an event', 'POST', '/events', (payload) => `{"topic":"identity.formed","payload":${payload}}`],
      [
        'a mutation',
        'POST',
        '/topologies/t1/mutations',
        (payload) => `{"op":"update_lan","expected_version":1,"payload":${payload}}`,
      ],
    ];
    // What a service may be configured with is known: nothing else is stored.
    const SERVICES: typeof WAYS = [
      [
        'a new service',
        'POST',
        '/topologies/t1/deckies/web/services',
        (config) => `{"name":"http","config":${config}}`,
      ],
      ['a configuration', 'PUT', '/topologies/t1/deckies/web/services/ssh/config', (config) => `{"config":${config}}`],
      [
        'one that is applied',
        'POST',
        '/topologies/t1/deckies/web/services/ssh/apply',
        (config) => `{"config":${config}}`,
      ],
    ];

    for (const [name, method, path, body] of WAYS) {
      test.each([
        ['nests one level too deep', nest(65), 'flatten'],
        ['nests 39,998 levels', nest(39_998), 'flatten'],
        ['swells beyond 2 MiB', swelling, 'send less'],
      ])(`${name} that %s is a 422 that says what to do, and changes nothing`, async (_, payload, advice) => {
        const before = await written();
        const response = await send(method, path, body(payload));
        const answer = await response.text();
        expect([response.status, answer.slice(0, 300)]).toEqual([422, expect.stringContaining(advice)]);
        expect(await written()).toEqual(before);
      });
    }

    for (const [name, method, path, body] of SERVICES) {
      test(`${name} that nests 39,998 levels is a 422 that says what to do`, async () => {
        const response = await send(method, path, body(nest(39_998)));
        expect([response.status, await response.text()]).toEqual([422, expect.stringContaining('flatten')]);
      });

      test.each([
        ['nests', nest(65)],
        ['swells', swelling],
      ])(`${name} that %s is stored without what no service has`, async (_, payload) => {
        const response = await send(method, path, body(payload));
        expect([201, 200, 409]).toContain(response.status);
        const { config } = await written();
        expect(JSON.stringify(config).length).toBeLessThan(1000);
      });
    }

    test('and what is just within the limits goes through, events behind it too', async () => {
      for (const [name, method, path, body] of WAYS) {
        const response = await send(method, path, body(nest(63)));
        expect([name, response.status < 300]).toEqual([name, true]);
      }
      const last = await call(node.url, token, 'POST', '/topologies/t1/mutations', { op: 'update_lan', payload: {} });
      expect(last.status).toBe(202);
    });

    test('a mutation is taken only if the mutator can tell it as text as well', async () => {
      // A million quotes: two million bytes as JSON, four as text of JSON.
      const payload = JSON.stringify({ text: '"'.repeat(700_000) });
      const response = await send('POST', '/topologies/t1/mutations', `{"op":"update_lan","payload":${payload}}`);
      expect([response.status, await response.text()]).toEqual([422, expect.stringContaining('send less')]);
    });
  });
}
