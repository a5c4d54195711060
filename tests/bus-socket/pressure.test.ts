import { afterEach, describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import { keys } from '../../src/bus/keys.ts';
import { storedLog, upTo } from '../bus/support.ts';
import { until } from '../support/until.ts';
import { createStage, frame, type Peer, type Stage } from './support.ts';

const LIMIT_MS = 30_000;

let stage: Stage;
afterEach(() => stage.stop());

const entries = async () => (await storedLog(stage.server.client())).filter(({ topic }) => topic.startsWith('a.'));
const inLog = async () => (await entries()).map(({ data }) => JSON.parse(data).payload.n);
const publication = (n: number, text = '') => frame('PUB', 'a.b', JSON.stringify({ payload: { n, text } }));

describe('while redis is away', () => {
  test('publications wait, and arrive once and in order with those before and after', async () => {
    stage = await createStage();
    const [subscriber, other] = [await stage.subscriber('a.>'), await stage.peer()];
    for (const n of upTo(300)) other.raw(publication(n));
    await until('some to be published', () => stage.socket.stats.published > 50);
    const stopping = stage.server.down();
    for (const n of upTo(600, 301)) other.raw(publication(n));
    await stopping;
    for (const n of upTo(900, 601)) other.raw(publication(n));
    await until('the outage to be told', () => stage.logged('redis does not take them'));
    await stage.server.up();
    for (const n of upTo(1200, 901)) other.raw(publication(n));
    await until('all events', () => subscriber.messages.length >= 1200, LIMIT_MS);
    expect(await inLog()).toEqual(upTo(1200));
    expect(subscriber.numbers()).toEqual(upTo(1200));
    expect(stage.logged('redis takes the publications')).toBe(true);
    expect(stage.socket.stats).toMatchObject({ lost: 0, dropped: 0, breaks: 0 });
  });

  test('who publishes too much has to wait, and nothing of it is lost', async () => {
    stage = await createStage();
    await stage.server.down();
    const [flooding, modest] = [await stage.peer(), await stage.peer()];
    const count = 300;
    const text = 'x'.repeat(100_000);
    flooding.raw(Buffer.concat(upTo(count).map((n) => publication(n, text))));
    modest.raw(publication(count + 1));
    // Of 30 MB some four are read, and a fraction of one is in the kernel. Then the socket is not read, whatever else goes on.
    await until('some of it to be read', () => flooding.unwritten < count * 100_000 - 4_000_000);
    for (let turn = 0; turn < 60; turn += 1) {
      const rude = (await stage.peer()).raw('RUDE\n');
      await until('its end', () => rude.isClosed);
    }
    expect(flooding.unwritten).toBeGreaterThan(20_000_000);
    await stage.server.up();
    await until('all of it', async () => (await entries()).length === count + 1, LIMIT_MS);
    expect((await inLog()).filter((n) => n <= count)).toEqual(upTo(count));
    expect(stage.socket.stats).toMatchObject({ published: count + 1, lost: 0 });
  });

  test('a peer may publish and go; what it said is kept for it', async () => {
    stage = await createStage();
    await stage.server.down();
    const peer = await stage.peer();
    // More than is held: the rest is read when redis is back.
    const text = 'x'.repeat(100_000);
    peer.raw(...upTo(60).map((n) => publication(n, text)));
    await until('most to be read', () => peer.unwritten < 1_500_000);
    await stage.server.up();
    await until('it to be written', () => peer.unwritten === 0);
    peer.close();
    await until('all of it', async () => (await entries()).length === 60, LIMIT_MS);
    expect(await inLog()).toEqual(upTo(60));
    await until('the connection to be forgotten', () => stage.socket.stats.connections === 0);
  });

  test('what a peer had said that breaks off before it was read is lost, and told', async () => {
    stage = await createStage();
    const peer = (await stage.subscriber('a.>')).pause();
    await stage.events.publish([{ event: createEvent('a.unread', '', {}) }]);
    await until('an event that it does not read', () => stage.socket.stats.delivered > 0);
    await stage.server.down();
    const text = 'x'.repeat(100_000);
    peer.raw(...upTo(100).map((n) => publication(n, text)));
    await until('it to be read no more', () => peer.unwritten < 100 * 100_000 - 4_200_000);
    const delivered = stage.socket.stats.delivered;
    peer.breakOff();
    await until('the loss to be told', () => stage.socket.stats.lost > 0);
    expect(stage.logged('broke off while redis was away')).toBe(true);
    await stage.server.up();
    await until('the rest', () => stage.socket.stats.connections === 0, LIMIT_MS);
    const kept = (await inLog()).filter((n) => n !== undefined);
    expect(kept.length).toBeGreaterThan(35);
    expect(kept).toEqual(upTo(kept.length));
    expect(stage.socket.stats.delivered).toBe(delivered);
  });

  test('stopping waits for it, but not for ever, and says what is lost', async () => {
    stage = await createStage({ stopMs: 100 });
    await stage.server.down();
    const peer = await stage.peer();
    for (const n of upTo(5)) peer.raw(publication(n));
    await until('the outage to be told', () => stage.logged('redis does not take them'));
    await stage.socket.stop();
    expect(stage.socket.stats.lost).toBe(5);
    expect(stage.logged('publications of the bus socket are lost')).toBe(true);
    await until('the end', () => peer.isClosed);
  });
});

test('a publication that redis alone refuses does not hold up the others, and the log says so', async () => {
  stage = await createStage();
  await stage.server.client().set(keys.stream('poison'), 'no stream');
  const peer = await stage.peer();
  peer.raw(
    ...upTo(5).map((n) => publication(n)),
    frame('PUB', 'poison.a', '{}'),
    ...upTo(10, 6).map((n) => publication(n)),
  );
  await until('the others', async () => (await inLog()).length === 10);
  expect(await inLog()).toEqual(upTo(10));
  expect(stage.socket.stats).toMatchObject({ published: 10, refused: 1 });
  const notice = (await storedLog(stage.server.client())).find(({ topic }) => topic === 'log.set_aside');
  const { payload } = JSON.parse(notice?.data ?? '');
  expect(payload).toMatchObject({ topic: 'poison.a', reason: expect.stringContaining('WRONGTYPE') });
});

describe('a subscriber that is too slow', () => {
  const publishBy = async (publisher: Peer, count: number, bytes: number) => {
    for (let n = 1; n <= count; n += 50) {
      const published = stage.socket.stats.published;
      publisher.raw(...upTo(Math.min(count, n + 49), n).map((each) => publication(each, 'x'.repeat(bytes))));
      await until(
        'them to be published',
        () => stage.socket.stats.published >= published + Math.min(50, count - n + 1),
      );
    }
  };
  const warnings = () => stage.lines.filter((line) => line.includes('too slow'));

  test('misses the oldest, is counted and told of once, and goes on; others miss nothing', async () => {
    stage = await createStage();
    const [slow, quick] = [await stage.subscriber('a.>'), await stage.subscriber('a.>')];
    slow.send('HELLO', 'sleeper').pause();
    const [publisher, count] = [await stage.peer(), 4000];
    await publishBy(publisher, count, 1000);
    await until('the quick one to have all', () => quick.messages.length === count);
    expect(quick.numbers()).toEqual(upTo(count));
    const { dropped } = stage.socket.stats;
    expect(dropped).toBeGreaterThan(count - 1024 - 1500);
    expect(warnings()).toHaveLength(1);
    expect(warnings()[0]).toContain('sleeper');

    slow.resume();
    await until('the newest', () => slow.numbers().at(-1) === count);
    const numbers = slow.numbers();
    expect(numbers).toHaveLength(count - dropped);
    // What it had begun to get, then a hole, then the newest 1024.
    const head = numbers.length - 1024;
    expect(numbers).toEqual([...upTo(head), ...upTo(count, count - 1023)]);
    await until('the end to be told', () => stage.logged('has caught up'));

    // Another time is another line.
    slow.pause();
    await publishBy(publisher, count, 1000);
    expect(warnings()).toHaveLength(2);
  }, 60_000);

  test('does not cost more than some megabytes', async () => {
    stage = await createStage();
    const slow = (await stage.subscriber('a.>')).pause();
    const [publisher, count] = [await stage.peer(), 60];
    await publishBy(publisher, count, 500_000);
    await until('the newest to be there', () => stage.socket.stats.dropped > 0);
    slow.resume();
    await until('the newest', () => slow.numbers().at(-1) === count);
    expect(slow.numbers().length).toBeLessThan(30);
    expect(slow.numbers().length + stage.socket.stats.dropped).toBe(count);
  });
});

test('a flood of one peer holds up neither others nor the process', async () => {
  stage = await createStage();
  const [flooding, other, listening] = [await stage.peer(), await stage.peer(), await stage.subscriber('b.>')];
  const rubbish = Buffer.concat(Array.from({ length: 20_000 }, () => frame('PUB', 'not a topic', '{}')));
  const floodUntil = (what: string, condition: () => boolean) =>
    until(what, () => {
      if (flooding.unwritten < rubbish.length) flooding.raw(rubbish);
      return condition();
    });
  await floodUntil('it to be read', () => stage.socket.stats.refused > 0);
  for (const n of upTo(20)) {
    other.send('PUB', 'b.c', JSON.stringify({ payload: { n } }));
    await floodUntil('an event', () => listening.messages.length === n);
  }
  expect(listening.numbers()).toEqual(upTo(20));
});

test('there are only so many connections', async () => {
  stage = await createStage();
  const peers = await Promise.all(Array.from({ length: 256 }, () => stage.peer()));
  await until('all to be there', () => stage.socket.stats.connections === 256);
  const refused = await stage.peer();
  await until('its end', () => refused.isClosed);
  peers[0]?.close();
  await until('a place', () => stage.socket.stats.connections === 255);
  const next = await stage.peer();
  next.raw(publication(1));
  await until('its event', async () => (await entries()).length === 1);
});
