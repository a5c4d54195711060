import { expect, test } from 'bun:test';
import { channelsOf, LOG_CHANNEL, topologyChannel } from '../../src/bus/channel.ts';
import type { JsonObject } from '../../src/bus/event.ts';
import { topics } from '../../src/bus/topic.ts';

const TABLE: readonly [topic: string, payload: JsonObject, channels: string[]][] = [
  [topics.topologyMutation('t1', 'applied'), {}, ['topology.t1']],
  [topics.topologyStatus('t1'), { topology_id: 't2' }, ['topology.t1']],
  ['topology', {}, ['topology']],
  [topics.decky('web', 'service_added'), { topology_id: 't1' }, ['decky', 'topology.t1']],
  [topics.decky('web', 'service_added'), { topology_id: null }, ['decky']],
  [topics.decky('web', 'service_added'), { topology_id: '' }, ['decky']],
  [topics.decky('web', 'service_added'), { topology_id: 7 }, ['decky']],
  // The names of channels are stored as words: this would be an event at offset 99 of another topology.
  [topics.decky('web', 'service_added'), { topology_id: 't1 1 0 topology.victim 99 0' }, ['decky']],
  [topics.decky('web', 'service_added'), { topology_id: 'a.b' }, ['decky']],
  [topics.decky('web', 'service_added'), { topology_id: 'x'.repeat(129) }, ['decky']],
  [topics.decky('h:n', 'state'), {}, ['decky']],
  [topics.attacker('observed'), { topology_id: 't1' }, ['attacker']],
  [topics.attackerObservation('motor.typing_speed'), {}, ['attacker']],
  [topics.identity('observation.linked'), {}, ['identity']],
  [topics.campaign('formed'), {}, ['campaign']],
  [topics.orchestrator('file', 'web'), {}, ['orchestrator']],
  [topics.system('log'), {}, ['system']],
  [topics.webhookSubscriptionsChanged, {}, ['system']],
  [topics.canary('tok', 'placed'), {}, ['canary']],
  // Every event is in the log already: its root names no second channel of that name.
  ['log', {}, []],
  ['log.rotated', {}, []],
];

test.each(TABLE)('%s with %j goes to %j', (topic, payload, channels) => {
  expect(channelsOf({ topic, payload })).toEqual(channels);
});

test('no event is put into the log by its channels: the log holds everything anyway', () => {
  for (const [topic, payload] of TABLE) expect(channelsOf({ topic, payload })).not.toContain(LOG_CHANNEL);
});

test('channels come sorted, so that every writer locks their rows in one order', () => {
  const channels = channelsOf({ topic: topics.decky('web', 'traffic'), payload: { topology_id: 'a' } });
  expect(channels).toEqual([...channels].sort());
  expect(channels).toContain(topologyChannel('a'));
});
