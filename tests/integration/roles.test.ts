import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { PROCESS_ROLES } from '../../src/roles.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES } from '../support/database.ts';
import { SseClient } from '../support/sse-client.ts';
import { insertTopology } from '../topology/support.ts';

const TIMEOUT_MS = 60_000;
const WORK = PROCESS_ROLES.filter((role) => role !== 'api').join(',');

interface Readiness {
  readonly status: string;
  readonly checks: Readonly<Record<string, { readonly ok: boolean }>>;
}

async function readiness(url: string): Promise<Readiness> {
  return JSON.parse(await (await fetch(`${url}/readyz`)).text());
}

for (const engine of ENGINES) {
  describe(`processes with different roles on ${engine}`, () => {
    let plane: Plane;
    beforeEach(async () => {
      plane = await createPlane(engine);
    });
    afterEach(() => plane.stop());

    test(
      'a mutation that is asked for at one is applied by the other, and seen on the stream of the first',
      async () => {
        const [api, worker] = await Promise.all([plane.child({ ROLES: 'api' }), plane.child({ ROLES: WORK })]);
        const token = await plane.token(api.url);
        const topologyId = crypto.randomUUID();
        await insertTopology(plane.database.db, topologyId);
        const client = await SseClient.open(`${api.url}/api/v1/topologies/${topologyId}/events`, { token });
        await client.untilEvent('snapshot');
        const mutation = { op: 'add_lan', payload: { name: 'lab' } };
        const answer = await call(api.url, token, 'POST', `/topologies/${topologyId}/mutations`, mutation);
        expect(answer.status).toBe(202);
        await client.untilEvent('mutation.applied');
        client.close();
        expect(client.frames.map(({ event }) => event)).toEqual([
          'snapshot',
          'mutation.enqueued',
          'mutation.applying',
          'mutation.applied',
        ]);
        // What only the other one does, it alone tells of.
        expect(Object.keys((await readiness(api.url)).checks).sort()).toEqual([
          'database',
          'draining',
          'projections',
          'redis',
          'tail',
        ]);
        expect(Object.keys((await readiness(worker.url)).checks).sort()).toEqual([
          'background',
          'database',
          'redis',
          'relay',
          'tail',
        ]);
      },
      TIMEOUT_MS,
    );

    test('one that serves no API has its probes, and nothing else to be called', async () => {
      const node = await plane.node({}, { ROLES: 'relay' });
      const status = async (path: string) => (await fetch(`${node.url}${path}`)).status;
      expect(await status('/healthz')).toBe(200);
      for (const path of ['/', '/api/v1/topologies/', '/api/v1/events', '/api/v1/ws']) {
        expect([path, await status(path)]).toEqual([path, 404]);
      }
      const { status: ready, checks } = await readiness(node.url);
      // It reads no log, so it tells of none.
      expect({ ready, checks: Object.keys(checks).sort() }).toEqual({
        ready: 'ready',
        checks: ['database', 'redis', 'relay'],
      });
    });

    test('what nobody has the role for waits, and is done once somebody has', async () => {
      const node = await plane.node({}, { ROLES: 'api,relay' });
      const token = await plane.token(node.url);
      const topologyId = crypto.randomUUID();
      await insertTopology(plane.database.db, topologyId);
      const client = await SseClient.open(`${node.url}/api/v1/topologies/${topologyId}/events`, { token });
      await client.untilEvent('snapshot');
      const mutation = { op: 'add_lan', payload: { name: 'lab' } };
      await call(node.url, token, 'POST', `/topologies/${topologyId}/mutations`, mutation);
      await client.untilEvent('mutation.enqueued');
      await plane.node({}, { ROLES: 'mutator' });
      await client.untilEvent('mutation.applied');
      client.close();
    });
  });
}
