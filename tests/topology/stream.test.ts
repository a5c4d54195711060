import { expect, test } from 'bun:test';
import { topologyEventName } from '../../src/topology/stream.ts';

// Contract §3.1.
test.each([
  ['topology.X.mutation.applied', 'mutation.applied'],
  ['topology.X.mutation.enqueued', 'mutation.enqueued'],
  ['topology.X.status', 'status'],
  ['topology.X.a.b.c', 'a.b.c'],
  ['decky.d1.service_added', 'decky.service_added'],
  ['decky.d1.state', 'decky.state'],
  ['decky.d1.a.b', 'decky.a.b'],
  // Fewer than three parts: the topic is its own name.
  ['topology.X', 'topology.X'],
  ['decky.d1', 'decky.d1'],
  ['topology', 'topology'],
])('the frame of %s is named %s', (topic, name) => {
  expect(topologyEventName(topic)).toBe(name);
});
