import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test';
import { keys } from '../../src/bus/keys.ts';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { publish, range } from '../integration/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import type { ChildNode } from '../support/child-node.ts';
import { until } from '../support/until.ts';
import { Caller, PROGRAM, type Running } from './support.ts';

let plane: Plane;
let node: ChildNode;
let port: string;
let token: string;
let caller: Caller;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.child();
  port = new URL(node.url).port;
  token = await plane.token(node.url);
});
beforeEach(async () => {
  caller = await Caller.create({ DECNET_URL: node.url, DECNET_TOKEN: token });
});
afterEach(() => caller.stop());
afterAll(() => plane.stop());

const send = async (...numbers: number[]) => {
  for (const n of numbers) await publish(node, token, 'attacker.seen', { n });
};
const numbersOf = (lines: readonly string[]) => lines.map((line) => JSON.parse(line).payload.n);

test('shows events as they happen, for people and for programs', async () => {
  const [human, machine] = [caller.start(['tail', 'attacker.>']), caller.start(['tail', 'attacker.>', '--json'])];
  // Nothing says that a tail stands: until both have said something, there is something to say.
  while (human.lines.length === 0 || machine.lines.length === 0) await send(0);
  const text = 'a\u001b[31m\u009b31m\u202eb';
  await publish(node, token, 'attacker.last', { text });
  const isLast = (line: string) => line.includes('attacker.last');
  const last = (running: Running) => until('the last line', () => running.lines.find(isLast));
  expect(JSON.parse(await last(machine))).toEqual({
    id: expect.stringMatching(/^[0-9a-z]+\.\d+\.[0-9a-f]{8}$/),
    topic: 'attacker.last',
    type: '',
    ts: expect.any(Number),
    payload: { text },
  });
  expect(await last(human)).toMatch(
    /^\d{4}-\d\d-\d\dT[\d:.]+Z {2}attacker\.last {2}\{"text":"a\\u001b\[31m\\u009b31m\\u202eb"\}$/,
  );
  expect(machine.lines.join('')).not.toMatch(/[\u009b\u202e]/);
});

test('begins at a time, ends when all is told, or after so many', async () => {
  await send(...range(1, 5));
  const all = await caller.run(['tail', 'attacker.seen', '--json', '--since', '1h', '--once']);
  expect(all.code).toBe(0);
  expect(all.err).toBe('');
  expect(numbersOf(all.out.trim().split('\n')).slice(-5)).toEqual(range(1, 5));
  const { out } = await caller.run(['tail', 'attacker.seen', '--json', '--since', '1h', '--limit', '2']);
  expect(out.trim().split('\n')).toHaveLength(2);
  const from = JSON.parse(all.out.trim().split('\n').at(-3) ?? '').id;
  const rest = await caller.run(['tail', 'attacker.seen', '--json', '--from', from, '--once']);
  expect(numbersOf(rest.out.trim().split('\n'))).toEqual([4, 5]);
});

test('comes back by itself when the server is killed, and when it stops in good order: every event once', async () => {
  await send(0);
  const cursor = await newest();
  const running = caller.start(['tail', 'attacker.seen', '--json', '--from', cursor]);
  await send(1, 2);
  await running.untilLines(2);
  await node.kill();
  await running.untilNote('coming back');
  node = await plane.child({ DECNET_API_PORT: port });
  await send(3, 4);
  await running.untilLines(4);
  expect(await node.stop()).toBe(0);
  node = await plane.child({ DECNET_API_PORT: port });
  await send(5, 6);
  await running.untilLines(6);
  running.signal('SIGINT');
  const { code, err, out } = await running.ended();
  expect(numbersOf(out.trim().split('\n'))).toEqual(range(1, 6));
  const ids = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).id);
  expect(new Set(ids).size).toBe(6);
  expect(code).toBe(EXIT_CODES.interrupted.code);
  expect(err).toContain(`--from ${ids.at(-1)}`);
});

async function newest(): Promise<string> {
  const { out } = await caller.run(['tail', 'attacker.seen', '--json', '--since', '0', '--once']);
  return JSON.parse(out.trim().split('\n').at(-1) ?? '').id;
}

test('says when and why it was reset, and goes on; --strict ends with an error', async () => {
  const foreign = 'zzzzzzzz.7.0a1b2c3d';
  await send(20);
  const strict = await caller.run(['tail', 'attacker.>', '--from', foreign, '--strict']);
  expect([strict.code, strict.out]).toEqual([EXIT_CODES.reset.code, '']);
  expect(strict.err).toContain('reset (epoch)');
  const running = caller.start(['tail', 'attacker.seen', '--json', '--from', foreign]);
  await running.untilNote('reset (epoch)');
  while (running.lines.length === 0) await send(21);
  expect(numbersOf(running.lines)[0]).toBe(21);
});

test('shows what is kept where history does not reach back to the time asked for; --strict does not', async () => {
  await send(...range(31, 36));
  await plane.redis.client().xtrim(keys.stream('log'), 'MAXLEN', 3);
  const lax = await caller.run(['tail', 'attacker.seen', '--json', '--since', '1h', '--once']);
  expect(numbersOf(lax.out.trim().split('\n'))).toEqual([34, 35, 36]);
  expect([lax.code, lax.err.includes('reset (trimmed)')]).toEqual([0, true]);
  const strict = await caller.run(['tail', 'attacker.seen', '--since', '1h', '--once', '--strict']);
  expect([strict.code, strict.out]).toEqual([EXIT_CODES.reset.code, '']);
});

test('ends quietly when its reader has gone', async () => {
  await send(...range(41, 60));
  const command = `"${process.execPath}" "${PROGRAM}" tail attacker.seen --since 0 | head -1; echo "\${PIPESTATUS[0]}"`;
  const child = Bun.spawn(['bash', '-c', command], {
    env: { PATH: process.env.PATH, HOME: caller.home, DECNET_URL: node.url, DECNET_TOKEN: token },
    stderr: 'pipe',
  });
  const writing = (async () => {
    while (child.exitCode === null) await send(61);
  })();
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await writing;
  expect(out.trim().split('\n')).toEqual([expect.stringContaining('attacker.seen'), '0']);
  expect(err).toBe('');
});

test.each([
  ['nobody answers', ['--url', 'http://127.0.0.1:1'], {}, 'unreachable'],
  ['nobody is signed in', [], { DECNET_TOKEN: '' }, 'unauthenticated'],
  ['the token is none', [], { DECNET_TOKEN: 'nonsense' }, 'unauthenticated'],
  ['the place is none', ['--from', 'x y'], {}, 'usage'],
  ['the time is none', ['--since', 'yesterday'], {}, 'usage'],
  ['both are given', ['--since', '1h', '--from', 'a.1.00000000'], {}, 'usage'],
  ['the URL is none', ['--url', 'ftp://x'], {}, 'usage'],
  ['a token is in the arguments', ['--token', 'x'], {}, 'usage'],
] as const)('says in one line why it cannot begin: %s', async (_, args, env, exit) => {
  const { code, out, err } = await caller.run(['tail', 'attacker.>', ...args], { env });
  expect([code, out]).toEqual([EXIT_CODES[exit].code, '']);
  expect(err).toMatch(/^decnet-live: [^\n]+\n$/);
});
