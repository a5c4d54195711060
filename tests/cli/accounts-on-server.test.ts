import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import type { App } from '../../src/main.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { Caller } from './support.ts';

let plane: Plane;
let node: App;
let caller: Caller;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  caller = await Caller.create({ DECNET_URL: node.url, DECNET_TOKEN: await plane.token(node.url) });
});
afterAll(async () => {
  await caller.stop();
  await plane.stop();
});

test('an account does what it was given, with the secret that it was shown, until that ends', async () => {
  const made = await caller.run(['accounts', 'create', 'sensor', '--publish', 'attacker.>', '--subscribe', 'decky.>']);
  expect(made.code).toBe(0);
  await writeFile(`${caller.home}/secret`, made.out);
  const as = (...args: string[]) => caller.run([...args, '--token-file', 'secret'], { env: { DECNET_TOKEN: '' } });
  expect(JSON.parse((await as('token', '--json')).out)).toMatchObject({
    name: 'sensor',
    role: 'account',
    expires_at: null,
  });
  expect((await as('publish', 'attacker.seen')).code).toBe(0);
  expect((await as('publish', 'decky.d.state')).code).toBe(EXIT_CODES.forbidden.code);

  expect(
    (await caller.run(['accounts', 'update', 'sensor', '--publish', 'decky.>', '--subscribe', 'decky.>'])).code,
  ).toBe(0);
  expect((await as('publish', 'decky.d.state')).code).toBe(0);
  const told = await as('tail', '>', '--since', '0', '--once', '--json');
  expect(
    told.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).topic),
  ).toEqual(['decky.d.state']);

  const rotated = await caller.run(['accounts', 'rotate', 'sensor']);
  expect((await as('token')).code).toBe(EXIT_CODES.unauthenticated.code);
  await writeFile(`${caller.home}/secret`, rotated.out);
  expect((await as('token')).code).toBe(0);
  expect((await caller.run(['accounts', 'list', '--json'])).out).toContain('"name":"sensor"');
  expect((await caller.run(['accounts', 'delete', 'sensor'])).code).toBe(0);
  expect((await as('token')).code).toBe(EXIT_CODES.unauthenticated.code);
  expect((await caller.run(['accounts', 'delete', 'sensor'])).code).toBe(EXIT_CODES.failed.code);
});
