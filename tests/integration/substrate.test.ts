import { afterEach, beforeEach, expect, test } from 'bun:test';
import { installationId } from '../../src/substrate/claim.ts';
import { dockerOf } from '../substrate/docker-world.ts';
import { type FakeEngine, startFakeEngine } from '../substrate/fake-engine.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { openFence } from '../support/fence.ts';
import { until } from '../support/until.ts';

let plane: Plane;
let engine: FakeEngine;
beforeEach(async () => {
  [plane, engine] = await Promise.all([createPlane(), startFakeEngine()]);
});
afterEach(async () => {
  await plane.stop();
  await engine.stop();
});

test('a node with workers removes at its start what its installation has left and no row explains', async () => {
  engine.now = () => Date.now() - 3_600_000;
  const orphan = { topologyId: 'gone', uuid: 'u', name: 'web', services: [], addresses: [], forwardsL3: false };
  for (const installation of [await installationId(plane.database.db), 'neighbour']) {
    await dockerOf(engine, installation).ensureDecky(orphan, openFence());
  }
  const docker = { DECNET_SUBSTRATE: 'docker', DECNET_DOCKER_SOCKET: engine.socketPath };
  await plane.node({}, docker);
  expect(engine.containers.size).toBe(2);
  await plane.node({}, { ...docker, ROLES: '' });
  await until('the orphan to go', () => engine.containers.size === 1);
  expect([...engine.containers.values()].map(({ labels }) => labels['decnet.installation'])).toEqual(['neighbour']);
});
