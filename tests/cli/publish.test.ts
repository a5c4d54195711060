import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import type { Redis } from 'ioredis';
import { parseEntry } from '../../src/bus/entry.ts';
import { keys } from '../../src/bus/keys.ts';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { range } from '../integration/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { ChildNode } from '../support/child-node.ts';
import { Caller } from './support.ts';

let plane: Plane;
let node: ChildNode;
let redis: Redis;
let token: string;
let caller: Caller;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.child();
  redis = plane.redis.client();
  token = await plane.token(node.url);
});
beforeEach(async () => {
  caller = await Caller.create({ DECNET_URL: node.url, DECNET_TOKEN: token });
});
afterEach(() => caller.stop());
afterAll(() => plane.stop());

async function stored(channel: string) {
  const entries = (await redis.xrange(keys.stream(channel), '-', '+')).map(parseEntry);
  return entries.map(({ id, data }) => ({ id, ...JSON.parse(data) }));
}

const linesOf = (out: string) =>
  out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

test('publishes an event and says where it went; the same id again is the same event', async () => {
  const args = ['publish', 'attacker.one', '--type', 't', '--payload', '{"a":1}', '--id', 'case-1', '--json'];
  const first = await caller.run(args);
  expect(first).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(first.out)).toMatchObject({ id: 'case-1', duplicate: false, offsets: { attacker: 1 } });
  expect(JSON.parse((await caller.run(args)).out)).toMatchObject({ duplicate: true, offsets: { attacker: 1 } });
  expect(await stored('attacker')).toMatchObject([
    { id: 'case-1', topic: 'attacker.one', type: 't', payload: { a: 1 } },
  ]);
  const other = await caller.run(['publish', 'attacker.other', '--id', 'case-1']);
  expect(other).toMatchObject({ code: EXIT_CODES.failed.code, out: '' });
  expect(other.err).toContain('belongs to another event');
});

test('takes the payload from a file or from standard input', async () => {
  await writeFile(`${caller.home}/event.json`, '{"from":"file"}');
  await caller.run(['publish', 'decky.file', '--payload', '@event.json']);
  await caller.run(['publish', 'decky.input', '--payload', '-'], { input: '{"from":"input"}' });
  expect((await stored('decky')).map(({ payload }) => payload.from)).toEqual(['file', 'input']);
});

test('publishes lines in their order, tells of each, and says which it could not', async () => {
  const count = 2500;
  const good = range(1, count).map((n) => JSON.stringify({ topic: 'identity.formed', payload: { n } }));
  const bad = ['not json', '[]', '{"topic":"a b"}', '{"topic":"identity.x","payload":7}', ''];
  const input = [...good.slice(0, 1700), ...bad, ...good.slice(1700)].join('\n');
  const { code, out, err } = await caller.run(['publish', '--stdin', '--json'], { input });
  expect(code).toBe(EXIT_CODES.partly.code);
  expect(err).toContain(`4 refused, ${count} published`);
  const told = linesOf(out);
  expect(told.filter(({ error }) => error !== undefined).map(({ line }) => line)).toEqual([1701, 1702, 1703, 1704]);
  const published = told.filter(({ error }) => error === undefined);
  expect(published.map(({ offsets }) => offsets.identity)).toEqual(range(1, count));
  const events = await stored('identity');
  expect(events.map(({ payload }) => payload.n)).toEqual(range(1, count));
  expect(events.map(({ id }) => id)).toEqual(published.map(({ id }) => id));
});

test('does not wait for a batch to fill', async () => {
  const running = caller.start(['publish', '--stdin', '--json']);
  running.write('{"topic":"campaign.a"}\n');
  await running.untilLines(1);
  running.write('{"topic":"campaign.b"}\n');
  await running.untilLines(2);
  running.write('{"topic":"campaign.c"}');
  running.endInput();
  expect((await running.ended()).code).toBe(0);
  expect((await stored('campaign')).map(({ topic }) => topic)).toEqual(['campaign.a', 'campaign.b', 'campaign.c']);
});

test('goes on after the server was killed, each event once', async () => {
  const running = caller.start(['publish', '--stdin', '--json']);
  running.write('{"topic":"email.sent","payload":{"n":1}}\n');
  await running.untilLines(1);
  await node.kill();
  running.write('{"topic":"email.sent","payload":{"n":2}}\n');
  await running.untilNote('sending again');
  node = await plane.child({ DECNET_API_PORT: new URL(node.url).port });
  await running.untilLines(2);
  running.endInput();
  expect((await running.ended()).code).toBe(0);
  expect((await stored('email')).map(({ payload }) => payload.n)).toEqual([1, 2]);
});

test.each([
  ['no topic', [], '', 'usage'],
  ['a topic that is none', ['a..b'], '', 'usage'],
  ['a payload that is no object', ['a.b', '--payload', '[1]'], '', 'usage'],
  ['a file that is not there', ['a.b', '--payload', '@nowhere'], '', 'usage'],
  ['lines and a topic', ['a.b', '--stdin'], '', 'usage'],
  ['an id that is none', ['a.b', '--id', 'x y'], '', 'failed'],
] as const)('refuses %s in one line', async (_, args, input, exit) => {
  const { code, out, err } = await caller.run(['publish', ...args], { input });
  expect([code, out]).toEqual([EXIT_CODES[exit].code, '']);
  expect(err).toMatch(/^decnet-live: [^\n]+\n$/);
});

test('a viewer may not', async () => {
  const viewer = await plane.token(node.url, 'viewer');
  const one = await caller.run(['publish', 'attacker.x'], { env: { DECNET_TOKEN: viewer } });
  const many = await caller.run(['publish', '--stdin'], {
    input: '{"topic":"attacker.x"}\n',
    env: { DECNET_TOKEN: viewer },
  });
  expect([one.code, many.code]).toEqual([EXIT_CODES.forbidden.code, EXIT_CODES.forbidden.code]);
  for (const { err } of [one, many]) expect(err).toMatch(/^decnet-live: [^\n]+\n$/);
});
