import { describe, expect, test } from 'bun:test';
import type { Subject } from '../../src/auth/rights.ts';
import { AppError } from '../../src/errors.ts';
import { type StreamDeclaration, subscriptionTo } from '../../src/stream/declaration.ts';
import { patternStream } from '../../src/stream/pattern-stream.ts';

const TOPOLOGY: StreamDeclaration = {
  name: 'topology',
  path: '/topologies/:id/events',
  channel: (id) => `topology.${id}`,
  eventName: (topic) => topic,
  topics: ['topology.>'],
  snapshot: async (id) => ({ revision: 7, data: { id } }),
};

const VIEWER: Subject = { role: 'viewer' };
const ADMIN: Subject = { role: 'admin' };
const subscribe = (query = '', id = 't1') => subscriptionTo(TOPOLOGY, id, VIEWER, new URLSearchParams(query));
const patterns = (topics: string) => subscriptionTo(patternStream, '', ADMIN, new URLSearchParams({ topics })).view;

/** Of a service account's stream of all that it may see. */
function keyFor(...subscribe: string[]): string {
  const account: Subject = { role: 'account', grants: { publish: [], subscribe, control: false } };
  return subscriptionTo(patternStream, '', account, new URLSearchParams()).view.key;
}

describe('a subscription', () => {
  test('reads the channel of its thing, and its snapshot', async () => {
    const { view, snapshot } = subscribe();
    expect(view.channel).toBe('topology.t1');
    expect(await snapshot?.()).toEqual({ revision: 7, data: { id: 't1' } });
    expect(view.filtered).toBe(false);
  });

  test('shows what it declares and nothing else', () => {
    const [viewer, admin] = [subscribe().view, subscriptionTo(TOPOLOGY, 't1', ADMIN, new URLSearchParams()).view];
    for (const view of [viewer, admin]) {
      expect(view.shows('topology.t1.status')).toBe(true);
      for (const topic of ['decky.web.state', 'credential.captured']) expect(view.shows(topic)).toBe(false);
    }
  });

  test('is refused to those who may not see all of it, and given to those who may', () => {
    const to = (topics: string[], subject: Subject) => () =>
      subscriptionTo({ ...TOPOLOGY, topics }, 't1', subject, new URLSearchParams());
    const account = (...subscribe: string[]): Subject => ({
      role: 'account',
      grants: { publish: ['>'], subscribe, control: false },
    });
    expect(to(['topology.>', 'credential.>'], VIEWER)).toThrow('all of topology.>, credential.>');
    expect(to(['system.>'], VIEWER)).toThrow(AppError);
    expect(to(['topology.>', 'decky.>'], account('topology.>'))).toThrow(AppError);
    expect(to(['topology.>'], account('topology.t1.>', 'topology.*'))).toThrow(AppError);
    expect(to(['system.>'], account('>'))).toThrow(AppError);
    expect(to(['unheard.>'], ADMIN)).toThrow(AppError);
    for (const subject of [ADMIN, account('>'), account('decky.>', 'topology.>')]) {
      expect(to(['topology.>', 'decky.>'], subject)).not.toThrow();
    }
  });

  test('shares its frames with the same view only', () => {
    const keys = [
      subscribe().view.key,
      subscribe('', 't2').view.key,
      subscriptionTo(TOPOLOGY, 't1', ADMIN, new URLSearchParams()).view.key,
      patterns('attacker.>').key,
      patterns('attacker.>,identity.>').key,
      patterns('>').key,
      keyFor('decky.>', 'attacker.>'),
      keyFor('attacker.>'),
      keyFor('>'),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(keyFor('attacker.>', 'decky.>')).toBe(keyFor('decky.>', 'attacker.>'));
    expect(subscribe('once=1').view.key).toBe(subscribe().view.key);
  });

  test('takes no patterns where the stream declares none: they narrow nothing', () => {
    const { view } = subscribe('topics=attacker.>');
    expect(view.filtered).toBe(false);
    expect(view.shows('topology.t1.status')).toBe(true);
  });

  test.each([
    ['', false],
    ['once=0', false],
    ['once=false', false],
    ['once=1', true],
    ['once=true', true],
    ['once', true],
  ])('?%s ends after what was missed: %p', (query, once) => {
    expect(subscribe(query).once).toBe(once);
  });

  test.each(['once=2', 'once=yes'])('?%s is refused', (query) => {
    expect(() => subscribe(query)).toThrow(AppError);
  });
});

describe('patterns', () => {
  test('choose among what the role is shown', () => {
    const view = patterns('attacker.>,decky.*.state');
    expect(view.filtered).toBe(true);
    expect(view.shows('attacker.observed')).toBe(true);
    expect(view.shows('decky.web.state')).toBe(true);
    expect(view.shows('decky.web.traffic')).toBe(false);
  });

  test('open nothing that the role is not shown', () => {
    const view = subscriptionTo(patternStream, '', VIEWER, new URLSearchParams({ topics: 'credential.>,>' })).view;
    expect(view.shows('attacker.observed')).toBe(true);
    for (const topic of ['credential.captured', 'canary.t.triggered', 'system.session.revoked', 'unheard.of']) {
      expect(view.shows(topic)).toBe(false);
    }
    expect(patterns('>').shows('credential.captured')).toBe(true);
    expect(patterns('>').shows('unheard.of')).toBe(false);
  });

  test('left out stand for everything', () => {
    const { view } = subscriptionTo(patternStream, '', ADMIN, new URLSearchParams());
    expect(view.shows('attacker.observed')).toBe(true);
    expect(view.key).toBe(patterns('>').key);
  });

  test('in another order, or twice, are the same view', () => {
    expect(patterns('b.>,a.>,b.>').key).toBe(patterns('a.>,b.>').key);
  });

  test.each(['', ',', 'a..b', 'a.>.b', 'a b', 'a.b*', 'attacker.>,', 'a\nb', `a.${'x'.repeat(600)}`])(
    '%j is refused and says what it is about',
    (topics) => {
      const refused = () => patterns(topics);
      expect(refused).toThrow(AppError);
      expect(refused).toThrow(/^topics: /);
    },
  );

  test('are limited in number', () => {
    const many = (count: number) => Array.from({ length: count }, (_, index) => `a${index}.>`).join(',');
    expect(patterns(many(50)).shows('a1.b')).toBe(false);
    expect(() => patterns(many(51))).toThrow('at most 50');
  });
});
