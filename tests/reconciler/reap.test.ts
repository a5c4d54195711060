import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { reapRoutes } from '../../src/reconciler/reap-routes.ts';
import { Reconciler } from '../../src/reconciler/reconciler.ts';
import { SubstrateClaim } from '../../src/substrate/claim.ts';
import { recordSubstrate } from '../../src/substrate/record.ts';
import type { Substrate } from '../../src/substrate/substrate.ts';
import { send } from '../decky/support.ts';
import { bringUp, dockerOf } from '../substrate/docker-world.ts';
import { type FakeEngine, refusal, startFakeEngine } from '../substrate/fake-engine.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { openFence } from '../support/fence.ts';
import { until } from '../support/until.ts';
import { createWorld, type World } from '../topology/mutator/support.ts';
import { asViewer, authenticator, shell } from '../topology/support.ts';

const GONE = 'b7c8a2de-3f61-4d0c-9a53-1f0e6d2c8b47';
const GRACE_MS = 120_000;

for (const database of ENGINES) {
  describe(`POST /topologies/reap-orphans (${database})`, () => {
    let world: World;
    let engine: FakeEngine;
    let docker: Substrate;
    let now: number;
    beforeAll(async () => {
      world = await createWorld(database);
    });
    beforeEach(async () => {
      engine = await startFakeEngine();
      docker = dockerOf(engine);
      now = Date.now() - 2 * GRACE_MS;
      engine.now = () => now;
      await world.office();
      await bringUp(world, engine);
      const lab = { topologyId: GONE, lanId: 'lan-lab', name: 'lab', subnet: '10.9.0.0/24', isDmz: false };
      await docker.ensureNetwork(lab, openFence());
      const orphan = { topologyId: GONE, uuid: 'u', name: 'gone', services: ['ssh'], forwardsL3: false };
      await docker.ensureDecky({ ...orphan, addresses: [{ lanId: 'lan-lab', ip: '10.9.0.5' }] }, openFence());
    });
    afterEach(async () => {
      await world.clear();
      await engine.stop();
    });
    afterAll(() => world.dispose());

    const reap = async (substrate: Substrate = docker, headers?: Record<string, string>) => {
      const reconciler = new Reconciler({ db: world.db, substrate, logger: quiet });
      const app = shell().use(reapRoutes({ db: world.db, authenticator, reconciler }));
      const response = await app.handle(send('POST', '/topologies/reap-orphans', {}, headers));
      return { status: response.status, body: JSON.parse(await response.text()) };
    };
    const empty = { orphan_prefixes: [], containers_removed: [], networks_removed: [], errors: [] };

    test('removes at once what no topology explains, whichever node is asked, and nothing else', async () => {
      expect(await reap()).toEqual({
        status: 200,
        body: {
          live_prefixes: ['t1'],
          orphan_prefixes: ['b7c8a2de'],
          containers_removed: ['gone'],
          networks_removed: ['lab'],
          errors: [],
        },
      });
      expect(engine.containers.size).toBe(3);
      expect((await reap()).body).toEqual({ live_prefixes: ['t1'], ...empty });
    });

    test('leaves alone what somebody is working on, and says so', async () => {
      const claim = await SubstrateClaim.take(world.db, GONE);
      const { body } = await reap();
      expect(body).toMatchObject({ containers_removed: [], errors: [expect.stringContaining(GONE)] });
      await claim?.release();
    });

    test('one thing that is stuck does not keep the others', async () => {
      engine.intercept = (asked) => (asked === 'DELETE /containers/:id' ? refusal(500, 'device busy') : undefined);
      const { status, body } = await reap();
      expect([status, body.containers_removed]).toEqual([200, []]);
      expect(body.errors[0]).toContain('device busy');
    });

    test('an engine that cannot be asked is told, not an error', async () => {
      await engine.stop();
      const { status, body } = await reap();
      expect([status, body.errors.length]).toEqual([200, 1]);
    });

    test('where nothing runs there is nothing to remove; and it is for administrators', async () => {
      expect((await reap(recordSubstrate)).body).toEqual({ live_prefixes: ['t1'], ...empty });
      expect((await reap(docker, asViewer)).status).toBe(403);
    });
  });
}

describe('a decky of the fleet that is replaced', () => {
  let plane: Plane;
  let engine: FakeEngine;
  beforeAll(async () => {
    [plane, engine] = await Promise.all([createPlane(), startFakeEngine()]);
  });
  afterAll(async () => {
    await plane.stop();
    await engine.stop();
  });

  test('leaves no container behind for longer than it takes to hear of it', async () => {
    // What was made long ago: younger things are left alone.
    engine.now = () => Date.now() - 2 * GRACE_MS;
    const roles = { ROLES: 'api,relay,rotator,reconciler' };
    const docker = {
      DECNET_SUBSTRATE: 'docker',
      DECNET_DOCKER_SOCKET: engine.socketPath,
      DECNET_DOCKER_IMAGE: 'decoy:1',
    };
    const node = await plane.node({}, { ...roles, ...docker });
    const token = await plane.token(node.url);
    const deploy = (ini_content: string) =>
      call(node.url, token, 'POST', '/deckies/deploy', { ini_content, replace_fleet: true });
    const names = () => [...engine.containers.values()].map(({ labels }) => labels['decnet.name']).sort();
    expect((await deploy('[old]\nservices=ssh')).status).toBe(202);
    await until('the first', () => names().join() === 'old');
    expect((await deploy('[new]\nservices=ssh')).status).toBe(202);
    // The next pass by the clock would be a minute away.
    await until('the second alone', () => names().join() === 'new', 20_000);
  });
});
