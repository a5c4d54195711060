import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { Caller } from './support.ts';

/** The wire as it was agreed upon: what is asked for is written down, and answered as a server would. */
const asked: { method: string; path: string; body: unknown }[] = [];
const account = {
  ...{ uuid: 'u-1', name: 'sensor', publish: ['attacker.>'], subscribe: [], control: false, expires_at: 1_800_000_000 },
};
let server: Bun.Server<undefined>;
let caller: Caller;

beforeAll(() => {
  server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const text = await request.text();
      const path = pathname.replace('/api/v1/service-accounts', '');
      asked.push({ method: request.method, path, body: text === '' ? undefined : JSON.parse(text) });
      if (request.method === 'GET')
        return Response.json({ items: [{ ...account, uuid: 'old', revoked_at: 1 }, account] });
      if (request.method === 'DELETE') return new Response(null, { status: 204 });
      if (request.method === 'PATCH') return Response.json(account);
      return Response.json({ ...account, secret: 'dsa_secret' }, { status: path === '' ? 201 : 200 });
    },
  });
});
beforeEach(async () => {
  asked.length = 0;
  caller = await Caller.create({ DECNET_URL: `http://127.0.0.1:${server.port}`, DECNET_TOKEN: 'token' });
});
afterEach(() => caller.stop());
afterAll(() => server.stop(true));

const changes = () => asked.filter(({ method }) => method !== 'GET');

test('creates an account, and shows its secret alone on standard output', async () => {
  const before = Math.floor(Date.now() / 1000);
  const args = [
    'accounts',
    'create',
    'sensor',
    '--publish',
    'attacker.>',
    'decky.*.state',
    '--subscribe',
    'system.log',
  ];
  const { code, out } = await caller.run([...args, '--expires', '90d']);
  expect([code, out]).toEqual([0, 'dsa_secret\n']);
  const [{ body } = { body: {} }] = changes();
  expect(body).toEqual({
    ...{ name: 'sensor', publish: ['attacker.>', 'decky.*.state'], subscribe: ['system.log'], control: false },
    expires_at: expect.any(Number),
  });
  const { expires_at: expires } = body as { expires_at: number };
  expect(expires - before).toBeGreaterThanOrEqual(90 * 86_400);
  expect((await caller.run(['accounts', 'create', 'plain', '--control'])).code).toBe(0);
  expect(changes()[1]?.body).toEqual({ name: 'plain', publish: [], subscribe: [], control: true, expires_at: null });
});

test('lists, changes, rotates and deletes by name', async () => {
  const { out } = await caller.run(['accounts', 'list']);
  expect(out).toMatch(
    /^NAME.*\nsensor .* revoked 1970-01-01T00:00:01\.000Z +old\nsensor +attacker\.> +- +no +never +2027-01-15T08:00:00\.000Z +u-1\n$/,
  );
  expect((await caller.run(['accounts', 'update', 'sensor', '--subscribe', 'decky.>', '--no-control'])).code).toBe(0);
  const rotated = await caller.run(['accounts', 'rotate', 'sensor', '--grace', '10m']);
  expect([rotated.code, rotated.out]).toEqual([0, 'dsa_secret\n']);
  expect((await caller.run(['accounts', 'delete', 'sensor'])).code).toBe(0);
  expect(changes()).toEqual([
    { method: 'PATCH', path: '/u-1', body: { subscribe: ['decky.>'], control: false } },
    { method: 'POST', path: '/u-1/rotate', body: { grace_seconds: 600 } },
    { method: 'DELETE', path: '/u-1', body: undefined },
  ]);
});

test('changes nothing that it was not told to change', async () => {
  expect((await caller.run(['accounts', 'update', 'sensor'])).code).toBe(EXIT_CODES.usage.code);
  expect((await caller.run(['accounts', 'delete', 'other'])).code).toBe(EXIT_CODES.failed.code);
  expect(changes()).toEqual([]);
});
