import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { matches } from '../../src/bus/topic.ts';
import { storedLog, upTo } from '../bus/support.ts';
import { until } from '../support/until.ts';
import { createStage, frame, heardEverything, type Peer, type Stage } from './support.ts';

describe('the bus socket', () => {
  let stage: Stage;
  beforeEach(async () => {
    stage = await createStage();
  });
  afterEach(() => stage.stop());

  const stored = async (prefix = 'a.') =>
    (await storedLog(stage.server.client())).filter(({ topic }) => topic.startsWith(prefix));
  const payloads = async () => (await stored()).map(({ data }) => JSON.parse(data).payload.n);

  test('publishes into the log and gives a publication its own id and time', async () => {
    const before = Date.now() / 1000;
    const peer = await stage.peer();
    peer.publish('a.b', { n: 1 }, 'made');
    const [entry] = await until('the event to be in the log', async () => {
      const entries = await stored();
      return entries.length > 0 && entries;
    });
    expect(entry?.topic).toBe('a.b');
    expect(entry?.id).toMatch(/^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
    const data = JSON.parse(entry?.data ?? '');
    expect(data).toEqual({ topic: 'a.b', type: 'made', ts: expect.any(Number), payload: { n: 1 } });
    expect(data.ts).toBeGreaterThanOrEqual(before);
    expect(data.ts).toBeLessThanOrEqual(Date.now() / 1000);
  });

  test('takes an envelope with nothing in it', async () => {
    const peer = await stage.peer();
    peer.send('PUB', 'a.empty').send('PUB', 'a.object', '{}').send('PUB', 'a.python', '{"payload":{"n":NaN}}');
    const entries = await until('the events', async () => {
      const found = await stored();
      return found.length === 3 && found;
    });
    expect(entries.map(({ data }) => JSON.parse(data))).toMatchObject([
      { topic: 'a.empty', type: '', payload: {} },
      { topic: 'a.object', type: '', payload: {} },
      { topic: 'a.python', type: '', payload: { n: null } },
    ]);
  });

  test('delivers the whole envelope as it is in the log, and what others publish too', async () => {
    const subscriber = await stage.subscriber('a.>');
    const event = createEvent('a.b', 'made', { text: 'é', list: [1, { two: 2 }] });
    await stage.events.publish([{ event }]);
    const [message] = await until('the event', () => subscriber.messages.length > 0 && subscriber.messages);
    expect(message).toEqual({ verb: 'EVT', argument: 'a.b', body: JSON.stringify(event) });
    expect(Object.keys(JSON.parse(message?.body ?? ''))).toEqual(['v', 'id', 'topic', 'type', 'ts', 'payload']);
  });

  test('gives a publication to everybody but the connection that it came from', async () => {
    const [one, two, three] = [
      await stage.subscriber('a.>'),
      await stage.subscriber('a.>'),
      await stage.subscriber('>'),
    ];
    const count = 300;
    for (const n of upTo(count)) one.publish('a.b', { n, from: 'one' });
    for (const n of upTo(count)) two.publish('a.b', { n, from: 'two' });
    // What follows in the log shows that everything before was delivered, or is not going to be.
    await until('their events', async () => (await stored()).length === 2 * count);
    await stage.events.publish([{ event: createEvent('a.end', '', {}) }]);
    const ended = ({ messages }: Peer) => messages.at(-1)?.argument === 'a.end';
    await until('the end', () => [one, two, three].every(ended));

    const from = (peer: Peer, name: string) =>
      peer
        .events()
        .filter(({ payload }) => payload.from === name)
        .map(({ payload }) => payload.n);
    expect(from(one, 'one')).toEqual([]);
    expect(from(one, 'two')).toEqual(upTo(count));
    expect(from(two, 'one')).toEqual(upTo(count));
    expect(from(two, 'two')).toEqual([]);
    expect(from(three, 'one')).toEqual(upTo(count));
    expect(from(three, 'two')).toEqual(upTo(count));
    expect(three.messages.filter(({ argument }) => argument === 'a.b')).toHaveLength(2 * count);
  });

  test("an id that only looks like a connection's own hides nothing from it", async () => {
    const peer = await stage.subscriber('a.>');
    peer.publish('a.own', {});
    const [own] = await until('the event', async () => (await stored()).length > 0 && stored());
    const forged = `${own?.id.slice(0, 24)}${own?.id.slice(24).replace(/./g, (digit) => (digit === '0' ? '1' : '0'))}`;
    for (const id of [forged, `${own?.id.slice(0, 12)}x`, own?.id.slice(0, 31) ?? '']) {
      await stage.events.publish([{ event: createEvent('a.forged', '', {}, id) }]);
    }
    await until('all three', () => peer.messages.length === 3);
    expect(peer.messages.map(({ argument }) => argument)).toEqual(['a.forged', 'a.forged', 'a.forged']);
  });

  test('sends one frame however many patterns of a connection match', async () => {
    const subscriber = await stage.subscriber('a.>', 'a.b', '*.b', '>');
    await stage.events.publish([1, 2].map((n) => ({ event: createEvent('a.b', '', { n }) })));
    await stage.events.publish([{ event: createEvent('end', '', {}) }]);
    await until('the end', () => subscriber.messages.at(-1)?.argument === 'end');
    expect(subscriber.messages.map(({ argument }) => argument)).toEqual(['a.b', 'a.b', 'end']);
  });

  test('matches patterns as DECNET does, until they are unsubscribed', async () => {
    const patterns = ['a.*.b', 'a.>.b', 'a*', 'A.b', '>.a'];
    const peers = await Promise.all(patterns.map((pattern) => stage.subscriber(pattern)));
    const topics = ['a.x.b', 'a.x', 'a.y.b', 'ab', 'A.b', 'a'];
    const end = createEvent('end', '', {});
    for (const peer of peers) peer.send('SUB', 'end');
    for (const peer of peers) await heardEverything(peer, await stage.peer());
    await stage.events.publish([...topics.map((topic) => ({ event: createEvent(topic, '', {}) })), { event: end }]);
    await until('the end', () => peers.every(({ messages }) => messages.some(({ argument }) => argument === 'end')));
    expect(peers.map(({ messages }) => messages.map(({ argument }) => argument))).toEqual(
      patterns.map((pattern) => [...topics, 'end'].filter((topic) => topic === 'end' || matches(pattern, topic))),
    );

    const [first] = peers;
    first?.send('UNSUB', 'a.*.b').send('UNSUB', 'never.subscribed').send('SUB', 'a.c');
    if (first !== undefined) await heardEverything(first, await stage.peer());
    await stage.events.publish(['a.x.b', 'a.c', 'end'].map((topic) => ({ event: createEvent(topic, '', {}) })));
    await until('what is left', () => first?.messages.at(-1)?.argument === 'end' && first.messages.length > 3);
    expect(first?.messages.slice(3).map(({ argument }) => argument)).toEqual(['a.c', 'end']);
  });

  test('keeps the order of a connection that says everything at once, and goes', async () => {
    const subscriber = await stage.subscriber('a.>');
    const peer = await stage.peer();
    const count = 3000;
    const publications = upTo(count).map((n) => frame('PUB', `a.${n % 7}`, JSON.stringify({ payload: { n } })));
    peer.raw(frame('HELLO', 'collector'), ...publications, frame('BYE'));
    await until('all events', () => subscriber.messages.length === count);
    expect(subscriber.numbers()).toEqual(upTo(count));
    expect(await payloads()).toEqual(upTo(count));
    await until('its end', () => peer.isClosed);
    // Pipelined publications travel together, or this would take a second.
    expect(stage.socket.stats.published).toBeGreaterThanOrEqual(count);
    expect(stage.logged('"peer":"collector"')).toBe(true);
  });

  test('refuses what the log cannot hold, says so, and goes on with the connection', async () => {
    const peer = await stage.peer();
    const deep = `${'{"x":'.repeat(70)}1${'}'.repeat(70)}`;
    const many = `{"payload":{"x":[${'[],'.repeat(60_000)}1]}}`;
    peer
      .publish('a..b', {})
      .publish('a.*', {})
      .publish('with space', {})
      .publish('a.b', [])
      .publish('a.b', 'text')
      .send('PUB', 'a.b', '{"type":5}')
      .publish('a.b', {}, 'x'.repeat(600))
      .send('PUB', 'a.b', `{"payload":${deep}}`)
      .send('PUB', 'a.b', many)
      .publish('a.b', { n: 1 });
    // The log has it a moment before the process is told so.
    await until('what is right', () => stage.socket.stats.published === 1);
    expect(await payloads()).toEqual([1]);
    expect(stage.socket.stats).toMatchObject({ refused: 9, published: 1, violations: 0 });
    expect(peer.isClosed).toBe(false);
    // However many: one line in ten seconds.
    expect(stage.lines.filter((line) => line.includes('was refused'))).toHaveLength(1);
    expect(stage.logged('topic segment must not be empty')).toBe(true);
  });

  test.each([
    ['EVT from a client', 'EVT a.b\n\0\0\0\0'],
    ['an unknown verb', 'PUBLISH a.b\n\0\0\0\0'],
    ['an empty header', '\n\0\0\0\0'],
    ['a header that never ends', `SUB ${'x'.repeat(5000)}`],
    ['the announcement of too large a body', 'PUB a.b\n\x00\x10\x00\x01'],
    ['a body that is a list', 'PUB a.b\n\0\0\0\x02[]'],
    ['a body that is no JSON', 'PUB a.b\n\0\0\0\x02{]'],
    ['a body of HELLO that is no object', 'HELLO me\n\0\0\0\x02[]'],
    ['too many subscriptions', Array.from({ length: 257 }, (_, n) => `SUB x.${n}\n\0\0\0\0`).join('')],
  ])('ends a connection after %s, and keeps what came before', async (_, text) => {
    const [peer, bystander] = [await stage.peer(), await stage.subscriber('a.>')];
    peer.raw(frame('PUB', 'a.before', '{"payload":{"n":1}}'), text, frame('PUB', 'a.after', '{"payload":{"n":2}}'));
    await until('its end', () => peer.isClosed);
    await until('what came before', () => bystander.messages.length === 1);
    expect(bystander.numbers()).toEqual([1]);
    expect(peer.messages).toEqual([]);
    expect(stage.socket.stats.violations).toBe(1);
    expect(stage.logged('broke the rules')).toBe(true);
    expect(await payloads()).toEqual([1]);
    await until('the connection to be forgotten', () => stage.socket.stats.connections === 1);
  });

  test('the end of a connection between two frames is no news, in the middle of one it is', async () => {
    const clean = await stage.peer();
    clean.send('HELLO', 'clean').publish('a.b', { n: 1 });
    await until('its event', async () => (await payloads()).length === 1);
    clean.close();
    await until('its end', () => stage.socket.stats.connections === 0);
    expect(stage.lines.filter((line) => line.includes('"level":"warn"'))).toEqual([]);

    const cut = await stage.peer();
    cut.raw('PUB a.b\n\0\0\0\x10{"pay');
    await until('it to be there', () => stage.socket.stats.connections === 1);
    cut.close();
    await until('its end', () => stage.socket.stats.connections === 0);
    expect(stage.logged('in the middle of a frame')).toBe(true);
    expect(await payloads()).toEqual([1]);
  });

  test('says what its protocol cannot carry', async () => {
    const subscriber = await stage.subscriber('a.>');
    const large = createEvent('a.large', '', { text: 'x'.repeat(1_100_000) });
    const foreign = createEvent('a.é', '', {});
    const small = createEvent('a.small', '', {});
    await stage.events.publish([large, foreign, small].map((event) => ({ event })));
    await until('what can be', () => subscriber.messages.length === 1);
    expect(subscriber.messages[0]?.argument).toBe('a.small');
    expect(stage.socket.stats.undeliverable).toBe(2);
    expect(stage.logged('cannot carry an event')).toBe(true);
  });

  test('says goodbye when it stops, after the log has everything', async () => {
    const subscriber = await stage.subscriber('a.>');
    const peer = await stage.peer();
    for (const n of upTo(500)) peer.publish('a.b', { n });
    await until('the last one to be read', () => stage.socket.stats.published > 0);
    await stage.socket.stop();
    expect(await Bun.file(stage.path).exists()).toBe(false);
    await until('goodbye', () => subscriber.isClosed && peer.isClosed);
    expect(subscriber.messages.at(-1)).toEqual({ verb: 'BYE', argument: '', body: '' });
    const kept = await payloads();
    expect(kept).toEqual(upTo(kept.length));
    expect(stage.socket.stats).toMatchObject({ connections: 0, lost: 0 });
  });

  test('tells in its log when subscribers may have missed events', async () => {
    await stage.subscriber('a.>');
    await stage.server.client().flushall();
    await until('the break', () => stage.socket.stats.breaks === 1);
    expect(stage.logged('may have missed events')).toBe(true);
  });
});

test('what is said before the node reads the log is heard by all who listened by then', async () => {
  const stage = await createStage({ isTailLate: true });
  try {
    const [subscriber, publisher] = [await stage.peer(), await stage.peer()];
    subscriber.send('SUB', 'a.>');
    publisher.publish('a.early', { n: 1 });
    // Both were read by the time that a third one is sent away.
    const rude = (await stage.peer()).raw('RUDE\n');
    await until('its end', () => rude.isClosed);
    expect(stage.socket.stats.published).toBe(0);
    await stage.beginTail();
    await until('the event', () => subscriber.messages.length === 1);
    expect(subscriber.numbers()).toEqual([1]);
    expect(stage.socket.stats.breaks).toBe(0);
  } finally {
    await stage.stop();
  }
});

describe('the rights of the bus socket', () => {
  test('are what its configuration says, whatever a peer asks for', async () => {
    const stage = await createStage({ publish: ['probe.>', 'a.>'], subscribe: ['probe.>', 'a.*'] });
    try {
      const [subscriber, publisher] = [await stage.subscriber('>'), await stage.peer()];
      publisher.publish('system.mutator.control', { action: 'stop' }).publish('a.b', { n: 1 });
      await stage.events.publish(
        ['system.log', 'a.b.c', 'a.end'].map((topic) => ({ event: createEvent(topic, '', {}) })),
      );
      const had = (topic: string) => subscriber.messages.some(({ argument }) => argument === topic);
      await until('what is allowed', () => had('a.end') && had('a.b'));
      expect(subscriber.messages.map(({ argument }) => argument).sort()).toEqual(['a.b', 'a.end']);
      const topics = (await storedLog(stage.server.client())).map(({ topic }) => topic);
      expect(topics).not.toContain('system.mutator.control');
      expect(stage.socket.stats.refused).toBe(1);
      expect(stage.logged('DECNET_BUS_PUBLISH')).toBe(true);
    } finally {
      await stage.stop();
    }
  });
});
