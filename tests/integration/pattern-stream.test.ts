import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { ReceivedFrame } from '../support/sse-client.ts';
import { Clients, eventsOf, offsetsOf, publish, refusal } from './support.ts';

const clients = new Clients();
let plane: Plane;
/** Sends no `position` frame within a test, however slowly that runs. */
let node: App;
let admin: string;
let viewer: string;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node({}, { DECNET_SSE_KEEPALIVE_SECONDS: '60' });
  admin = await plane.token(node.url, 'admin');
  viewer = await plane.token(node.url, 'viewer');
});
afterEach(() => clients.close());
afterAll(() => plane.stop());

/** Publishes events of these topics; answers their offsets in the log. */
async function post(...topics: string[]): Promise<number[]> {
  const offsets = [];
  for (const topic of topics) offsets.push((await publish(node, admin, topic)).offsets.log ?? 0);
  return offsets;
}

function open(patterns: string, token = admin, lastId?: string, from = node) {
  const path = `/events?topics=${encodeURIComponent(patterns)}`;
  return clients.open(from, path, { token, ...(lastId === undefined ? {} : { lastId }) });
}

const topicsOf = (frames: readonly ReceivedFrame[]) => eventsOf(frames).map(({ data }) => JSON.parse(data).topic);

/** Each frame says which id the one before it had reached: nothing can be missing in between. */
function expectChain(frames: readonly ReceivedFrame[]): void {
  const chained = frames.filter(({ event }) => event === 'message' || event === 'position');
  const [start] = frames;
  const ids = [start, ...chained].map((frame) => frame?.id);
  expect(chained.map(({ data }) => JSON.parse(data).prev)).toEqual(ids.slice(0, -1));
}

test('opens with its position, so that nothing after it can be missed', async () => {
  const [newest = 0] = await post('attacker.observed');
  const client = await open('attacker.>');
  const ready = await client.untilEvent('ready');
  expect(client.frames).toHaveLength(1);
  expect(ready.id).toMatch(/^[0-9a-z]+\.[0-9]+\.[0-9a-f]{8}$/);
  expect(offsetsOf([ready])).toEqual([newest]);
  expect(JSON.parse(ready.data)).toEqual({ position: ready.id });
});

test('sends exactly what the patterns match, unnamed, in a chain of ids', async () => {
  const client = await open('attacker.>,decky.*.state');
  await client.untilEvent('ready');
  const offsets = await post(
    'attacker.observed',
    'decky.d1.traffic',
    'decky.d1.state',
    'identity.formed',
    'attacker.a.b',
  );
  await client.untilFrames(4);
  expect(client.frames.slice(1).map(({ event }) => event)).toEqual(['message', 'message', 'message']);
  expect(topicsOf(client.frames)).toEqual(['attacker.observed', 'decky.d1.state', 'attacker.a.b']);
  expect(offsetsOf(client.frames.slice(1))).toEqual([0, 2, 4].map((index) => offsets[index] ?? 0));
  expect(JSON.parse(client.frames[1]?.data ?? '')).toEqual({
    prev: client.frames[0]?.id,
    topic: 'attacker.observed',
    type: '',
    ts: expect.any(Number),
    payload: {},
  });
  expectChain(client.frames);
});

test('resumes from an old id with exactly the later events that match, then goes on live', async () => {
  const first = await open('attacker.>');
  await first.untilEvent('ready');
  await post('attacker.seen', 'identity.formed', 'identity.merged');
  await first.untilFrames(2);
  const { lastId } = first;
  first.close();
  const missed = await post('identity.formed', 'attacker.m1', 'decky.d1.state', 'attacker.m2', 'identity.merged');
  const second = await open('attacker.>', admin, lastId);
  await second.untilFrames(3);
  expect(second.frames[0]).toMatchObject({ event: 'resumed', id: lastId });
  expect(offsetsOf(eventsOf(second.frames))).toEqual([missed[1] ?? 0, missed[3] ?? 0]);
  await post('identity.formed', 'attacker.live');
  await second.untilFrames(4);
  expect(topicsOf(second.frames)).toEqual(['attacker.m1', 'attacker.m2', 'attacker.live']);
  expectChain(second.frames);
});

test('moves the id on when only events pass that are not shown, so that a resume does not read them again', async () => {
  const client = await open('attacker.>', admin, undefined, await plane.node());
  await client.untilEvent('ready');
  const hidden = await post('identity.formed', 'identity.merged');
  const position = await client.untilEvent('position');
  expect(offsetsOf([position])).toEqual([hidden[1] ?? 0]);
  const [shown = 0] = await post('attacker.after');
  await client.untilFrames(3);
  expectChain(client.frames);

  const resumed = await open('attacker.>', admin, position.id);
  await resumed.untilFrames(2);
  expect(resumed.frames[0]).toMatchObject({ event: 'resumed', id: position.id });
  expect(offsetsOf(eventsOf(resumed.frames))).toEqual([shown]);
});

test('shows a viewer nothing about secrets, live or on resume, and an administrator all of it', async () => {
  const [asViewer, asAdmin] = [await open('>', viewer), await open('>', admin)];
  for (const client of [asViewer, asAdmin]) await client.untilEvent('ready');
  const start = asViewer.lastId;
  const secret = [
    'credential.captured',
    'canary.t1.triggered',
    'email.sent',
    'smtp.relayed',
    'ttp.rule.fired.T1110',
    'system.mutator.control',
  ];
  const shown = ['system.mutator.health', 'system.log', 'attacker.observed'];
  await post(...secret, ...shown);
  await asAdmin.untilFrames(1 + secret.length + shown.length);
  await asViewer.untilFrames(1 + shown.length);
  expect(topicsOf(asAdmin.frames)).toEqual([...secret, ...shown]);
  expect(topicsOf(asViewer.frames)).toEqual(shown);

  for (const patterns of ['>', 'credential.>,attacker.observed', '*.captured,attacker.>']) {
    const again = await open(patterns, viewer, start);
    const isAsked = (topic: string) => patterns === '>' || topic === 'attacker.observed';
    const expected = shown.filter(isAsked);
    await again.untilFrames(1 + expected.length);
    // The last event published is among them: whatever else were shown would have come before it.
    expect(topicsOf(again.frames)).toEqual(expected);
  }
  for (const client of [asViewer, asAdmin]) expectChain(client.frames);
});

test('shows no family that nobody has listed, not even to an administrator', async () => {
  const client = await open('>');
  await client.untilEvent('ready');
  await post('unheard.of', 'attacker.observed');
  await client.untilFrames(2);
  expect(topicsOf(client.frames)).toEqual(['attacker.observed']);
});

test('answers a cursor of another epoch by reset and its position', async () => {
  const client = await open('attacker.>', admin, 'zzzzzzzz.7.0a1b2c3d');
  const ready = await client.untilEvent('ready');
  expect(client.frames.map(({ event }) => event)).toEqual(['reset', 'ready']);
  expect(JSON.parse(client.frames[0]?.data ?? '')).toEqual({ reason: 'epoch' });
  expect(ready.id).not.toStartWith('zzzzzzzz');
  await post('attacker.after');
  await client.untilFrames(3);
});

test.each(['', 'a b', 'attacker.>,,decky.>', ' attacker.>', 'attacker..x', 'a.>.b', '>,'])(
  'refuses the patterns %p by 422',
  async (patterns) => {
    const { response } = await open(patterns);
    expect(await refusal(response)).toEqual({ status: 422, detail: expect.stringContaining('topics') });
  },
);

test('refuses more patterns than it can be asked to match', async () => {
  const { response } = await open(Array.from({ length: 51 }, (_, index) => `attacker.p${index}`).join(','));
  expect(await refusal(response)).toMatchObject({ status: 422 });
});

test('refuses a stranger before it looks at the patterns', async () => {
  const { response } = await clients.open(node, '/events?topics=a%20b');
  expect(await refusal(response)).toMatchObject({ status: 401 });
});
