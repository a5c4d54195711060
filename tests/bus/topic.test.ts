import { describe, expect, test } from 'bun:test';
import {
  assertPattern,
  assertTopic,
  covers,
  MAX_TOPIC_LENGTH,
  matcher,
  matches,
  overlaps,
  TopicError,
  topics,
} from '../../src/bus/topic.ts';

// Contract §1.2, row by row.
const VECTORS: readonly [pattern: string, topic: string, match: boolean][] = [
  ['topology.>', 'topology', false],
  ['topology.>', 'topology.a', true],
  ['topology.>', 'topology.a.b', true],
  ['topology.>', 'topology.', true],
  ['>', 'a', true],
  ['>', '', true],
  ['*', 'a', true],
  ['*', '', false],
  ['*', 'a.b', false],
  ['a.*', 'a', false],
  ['a.*.b', 'a..b', false],
  ['a.*.', 'a.b.', true],
  ['a..b', 'a..b', true],
  ['a.>.b', 'a.x', true],
  ['a.>.b', 'a.x.b', true],
  ['a.>.b', 'a', false],
  ['>.a', 'zz', true],
  ['*.>', 'a.b', true],
  ['*.>', 'a', false],
  ['*.*', 'a.b', true],
  ['a*', 'ab', false],
  ['a*', 'a*', true],
  ['A.b', 'a.b', false],
  ['', '', true],
  ['', 'a', false],
  ['system.*.health', 'system.bus.health', true],
  ['decky.*.state', 'decky.h:n.state', true],
  ['a b', 'a b', true],
];

describe('matches', () => {
  test.each(VECTORS)('%j against %j is %p', (pattern, topic, match) => {
    expect(matches(pattern, topic)).toBe(match);
  });

  test('a pattern longer than the topic does not match, nor one that is only its beginning', () => {
    expect(matches('a.b.c', 'a.b')).toBe(false);
    expect(matches('a.b', 'a.b.c')).toBe(false);
  });

  test('matcher takes a topic that any of its patterns matches', () => {
    const wanted = matcher(['attacker.>', 'decky.*.state']);
    expect(['attacker.observed', 'decky.web.state', 'decky.web.traffic', 'attacker'].map(wanted)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(matcher([])('a')).toBe(false);
  });
});

describe('builders', () => {
  // Contract §1.1, builder by builder.
  const BUILT: readonly [built: string, topic: string][] = [
    [topics.topologyMutation('t1', 'applied'), 'topology.t1.mutation.applied'],
    [topics.topologyStatus('t1'), 'topology.t1.status'],
    [topics.decky('web', 'traffic'), 'decky.web.traffic'],
    [topics.deckyMutation('web'), 'decky.web.mutation'],
    [topics.deckyLifecycle('web'), 'decky.web.lifecycle'],
    [topics.system('log'), 'system.log'],
    [topics.systemHealth('mutator'), 'system.mutator.health'],
    [topics.systemControl('mutator'), 'system.mutator.control'],
    [topics.attacker('session.started'), 'attacker.session.started'],
    [topics.attackerObservation('motor.typing_speed'), 'attacker.observation.motor.typing_speed'],
    [topics.identity('observation.linked'), 'identity.observation.linked'],
    [topics.campaign('formed'), 'campaign.formed'],
    [topics.credential('reuse.detected'), 'credential.reuse.detected'],
    [topics.attribution('profile.state_changed'), 'attribution.profile.state_changed'],
    [topics.smtp('probe.pending'), 'smtp.probe.pending'],
    [topics.email('received'), 'email.received'],
    [topics.ttp('tagged'), 'ttp.tagged'],
    [topics.orchestrator('traffic', 'host:web'), 'orchestrator.traffic.host:web'],
    [topics.canary('tok', 'placed'), 'canary.tok.placed'],
    [topics.ttpRuleFired('T1110'), 'ttp.rule.fired.T1110'],
    [topics.ttpRuleReloaded('R1'), 'ttp.rule.reloaded.R1'],
    [topics.ttpRuleState('R1'), 'ttp.rule.state.R1'],
    [topics.webhookSubscriptionsChanged, 'system.webhook.subscriptions_changed'],
    [topics.webhookBreaker('w1'), 'system.webhook.w1.breaker'],
    [topics.webhookDisabled('w1'), 'system.webhook.w1.disabled'],
    [topics.webhookBacklog('w1'), 'system.webhook.w1.backlog'],
    [topics.webhookDropped('w1'), 'system.webhook.w1.dropped'],
  ];

  test.each(BUILT)('builds %s', (built, topic) => {
    expect(built).toBe(topic);
  });

  test('every builder is in the table above', () => {
    expect(BUILT).toHaveLength(Object.keys(topics).length);
  });

  // One entry for each argument of each builder that takes whole tokens.
  const SEGMENTS: readonly [name: string, build: (value: string) => string][] = [
    ['topologyMutation id', (value) => topics.topologyMutation(value, 'applied')],
    ['topologyMutation state', (value) => topics.topologyMutation('t1', value)],
    ['topologyStatus id', topics.topologyStatus],
    ['decky id', (value) => topics.decky(value, 'state')],
    ['decky type', (value) => topics.decky('web', value)],
    ['deckyMutation id', topics.deckyMutation],
    ['deckyLifecycle id', topics.deckyLifecycle],
    ['systemHealth worker', topics.systemHealth],
    ['systemControl worker', topics.systemControl],
    ['orchestrator type', (value) => topics.orchestrator(value, 'web')],
    ['orchestrator decky', (value) => topics.orchestrator('file', value)],
    ['canary token', (value) => topics.canary(value, 'placed')],
    ['canary type', (value) => topics.canary('tok', value)],
    ['ttpRuleFired technique', topics.ttpRuleFired],
    ['ttpRuleReloaded rule', topics.ttpRuleReloaded],
    ['ttpRuleState rule', topics.ttpRuleState],
  ];

  describe.each(SEGMENTS)('%s', (_name, build) => {
    test.each(['', '.', 'a.b', '*', 'a*', '>', 'a>b', ' ', 'a b', 'a\nb', 'a\u2003b'])('refuses %j', (value) => {
      expect(() => build(value)).toThrow(TopicError);
    });

    test.each(['h:n', 'a\u0000b', '\ufeff', 'ünïcode', 'a-b_c'])('accepts %j', (value) => {
      expect(build(value)).toContain(value);
    });
  });

  test('a sub-technique is refused: the parent technique is the topic', () => {
    expect(() => topics.ttpRuleFired('T1110.001')).toThrow("topic segment 'T1110.001'");
  });

  // Python's str.isspace decides: Unicode White_Space and the four information separators, and nothing else.
  const SPACES = [
    ...[0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x85, 0xa0, 0x1680],
    ...[0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a],
    ...[0x2028, 0x2029, 0x202f, 0x205f, 0x3000],
  ];

  test('of the characters of the basic plane, exactly the white space that DECNET knows, dots and wildcards are refused', () => {
    const refused: number[] = [];
    for (let code = 0; code <= 0xffff; code++) {
      try {
        topics.topologyStatus(String.fromCharCode(code));
      } catch {
        refused.push(code);
      }
    }
    const syntax = [...'.*>'].map((character) => character.charCodeAt(0));
    expect(refused).toEqual([...SPACES, ...syntax].sort((a, b) => a - b));
  });

  const PREFIXED: readonly [root: string, build: (type: string) => string][] = [
    ['system', topics.system],
    ['attacker', topics.attacker],
    ['attacker.observation', topics.attackerObservation],
    ['identity', topics.identity],
    ['campaign', topics.campaign],
    ['credential', topics.credential],
    ['attribution', topics.attribution],
    ['smtp', topics.smtp],
    ['email', topics.email],
    ['ttp', topics.ttp],
  ];

  test.each(PREFIXED)('%s takes any leaf but the empty one', (root, build) => {
    expect(build('bad topic > *')).toBe(`${root}.bad topic > *`);
    expect(() => build('')).toThrow(TopicError);
  });
});

describe('assertTopic', () => {
  test.each(['a', 'topology.t1.mutation.applied', 'decky.h:n.state', 'x'.repeat(MAX_TOPIC_LENGTH)])(
    'takes %s',
    (topic) => {
      expect(() => assertTopic(topic)).not.toThrow();
    },
  );

  test.each(['', '.', 'a.', '.a', 'a..b', 'a.*', 'a.>', 'a b', 'x'.repeat(MAX_TOPIC_LENGTH + 1)])(
    'refuses %j',
    (topic) => {
      expect(() => assertTopic(topic)).toThrow(TopicError);
    },
  );
});

describe('assertPattern', () => {
  test.each(['>', '*', 'a', 'a.>', '*.>', 'decky.*.state', 'x'.repeat(MAX_TOPIC_LENGTH)])('takes %s', (pattern) => {
    expect(() => assertPattern(pattern)).not.toThrow();
  });

  test.each(['', 'a.', 'a..b', 'a*', 'a.b>', '>.a', 'a.>.b', '>.>', 'a b', 'x'.repeat(MAX_TOPIC_LENGTH + 1)])(
    'refuses %j',
    (pattern) => {
      expect(() => assertPattern(pattern)).toThrow(TopicError);
    },
  );
});

describe('patterns among themselves', () => {
  const of = (tokens: readonly string[], length: number): string[] =>
    length === 1 ? [...tokens] : of(tokens, length - 1).flatMap((start) => tokens.map((token) => `${start}.${token}`));
  const upTo = (tokens: readonly string[], most: number) =>
    Array.from({ length: most }, (_, index) => of(tokens, index + 1)).flat();
  // One token more than patterns name, and one level more than they have: enough to tell any two of them apart.
  const allTopics = upTo(['a', 'b', 'c'], 4);
  const all = upTo(['a', 'b', '*', '>'], 3).filter((pattern) => !pattern.slice(0, -1).includes('>'));
  const matched = new Map(all.map((pattern) => [pattern, allTopics.filter((topic) => matches(pattern, topic))]));

  test('cover and overlap each other exactly as the topics say that they match', () => {
    const wrong: string[] = [];
    for (const [one, ofOne] of matched) {
      for (const [other, ofOther] of matched) {
        if (covers(one, other) !== ofOther.every((topic) => ofOne.includes(topic)))
          wrong.push(`${one} covers ${other}`);
        if (overlaps(one, other) !== ofOther.some((topic) => ofOne.includes(topic)))
          wrong.push(`${one} meets ${other}`);
      }
    }
    expect(all.length).toBeGreaterThan(40);
    expect(wrong).toEqual([]);
  });
});
