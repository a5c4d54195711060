import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import type { App } from '../../src/main.ts';
import { ADMIN, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';
import { Caller, PROGRAM } from './support.ts';

let plane: Plane;
let node: App;
let caller: Caller;
let file: string;

beforeAll(async () => {
  plane = await createPlane();
  node = await plane.node();
  await plane.token(node.url);
  await plane.token(node.url, 'viewer');
});
beforeEach(async () => {
  caller = await Caller.create();
  file = `${caller.home}/config/decnet-live/logins.json`;
});
afterEach(() => caller.stop());
afterAll(() => plane.stop());

const login = (username = 'admin-user', password: string = ADMIN.password) =>
  caller.run(['login', '--url', node.url, username], { input: `${password}\n` });

test('keeps the token for this user alone, uses it afterwards, and forgets it', async () => {
  expect(await login()).toMatchObject({ code: 0, err: '' });
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const [{ token }] = JSON.parse(await readFile(file, 'utf8'));
  // The newest sign-in names the server, too.
  const { code, out } = await caller.run(['token', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ url: node.url, name: 'admin-user', role: 'admin' });
  expect(JSON.parse(out).expires_at * 1000).toBeGreaterThan(Date.now());
  expect((await caller.run(['token'])).out).toMatch(
    /^admin-user at .*\nrole +admin\n(.*\n)*expires +\d{4}-.*(?:min|h)\)\n$/,
  );
  expect(out).not.toContain(token);
  expect((await caller.run(['logout', '--url', node.url])).code).toBe(0);
  expect(await caller.run(['token', '--url', node.url])).toMatchObject({ code: EXIT_CODES.unauthenticated.code });
  const old = await caller.run(['token', '--url', node.url], { env: { DECNET_TOKEN: token } });
  expect(old).toMatchObject({ code: EXIT_CODES.unauthenticated.code, out: '' });
});

test('a file that others could read is replaced by one that they cannot', async () => {
  await login();
  await chmod(file, 0o644);
  await login('viewer-user');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(JSON.parse((await caller.run(['token', '--json'])).out)).toMatchObject({
    name: 'viewer-user',
    role: 'viewer',
  });
});

test('a token goes to the server that issued it and to no other', async () => {
  await login();
  const asked: string[] = [];
  const other = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch({ headers }) {
      asked.push(headers.get('authorization') ?? '');
      return Response.json({});
    },
  });
  const url = `http://127.0.0.1:${other.port}`;
  for (const args of [['token'], ['tail', '>'], ['publish', 'a.b'], ['users', 'list']]) {
    expect((await caller.run([...args, '--url', url])).code).toBe(EXIT_CODES.unauthenticated.code);
  }
  await other.stop(true);
  expect(asked).toEqual([]);
});

test('takes the token from a file or the environment before the sign-in', async () => {
  await login();
  const viewer = await plane.token(node.url, 'viewer');
  await writeFile(`${caller.home}/token`, `${viewer}\n`);
  const roleOf = async (args: string[], env = {}) =>
    JSON.parse((await caller.run(['token', '--json', ...args], { env })).out).role;
  expect(await roleOf([])).toBe('admin');
  expect(await roleOf([], { DECNET_TOKEN: viewer })).toBe('viewer');
  expect(await roleOf(['--token-file', 'token'])).toBe('viewer');
});

test('says that a password is wrong, and stores nothing', async () => {
  const { code, out, err } = await login('admin-user', 'something-else');
  expect([code, out]).toEqual([EXIT_CODES.unauthenticated.code, '']);
  expect(err).toMatch(/^decnet-live: Incorrect username or password[^\n]*\n$/);
  expect(await Bun.file(file).exists()).toBe(false);
});

test('asks at the terminal without showing what is typed', async () => {
  // Bun has no pseudo-terminal of its own; util-linux' script and macOS' differ in their arguments.
  const command = `${process.execPath} ${PROGRAM} login --url ${node.url} admin-user`;
  const args = process.platform === 'darwin' ? ['/dev/null', 'sh', '-c', command] : ['-qec', command, '/dev/null'];
  const child = Bun.spawn(['script', ...args], {
    env: { PATH: process.env.PATH, HOME: caller.home, XDG_CONFIG_HOME: `${caller.home}/config`, TERM: 'dumb' },
    stdin: 'pipe',
    stdout: 'pipe',
  });
  let shown = '';
  const reading = (async () => {
    for await (const chunk of child.stdout) shown += new TextDecoder().decode(chunk);
  })();
  await until('the prompt', () => shown.includes('password:'));
  child.stdin.write(`${ADMIN.password}\r`);
  await until('the sign-in', () => shown.includes('signed in'));
  child.stdin.end();
  await child.exited;
  await reading;
  expect(shown).not.toContain(ADMIN.password);
});

test('manages users: creates, lists, changes, deletes; who has to change the password does so at the sign-in', async () => {
  await login();
  const created = await caller.run(['users', 'create', 'ana', '--role', 'viewer'], { input: 'first-password-1\n' });
  expect(created).toMatchObject({ code: 0, err: '' });
  const list = async () =>
    (await caller.run(['users', 'list', '--json'])).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  expect(await list()).toContainEqual(expect.objectContaining({ username: 'ana', role: 'viewer' }));
  expect((await caller.run(['users', 'list'])).out).toMatch(/^USERNAME +ROLE/);

  const ana = await Caller.create();
  try {
    const once = await ana.run(['login', '--url', node.url, 'ana'], { input: 'first-password-1\n' });
    expect(once.code).toBe(EXIT_CODES.forbidden.code);
    const changed = await ana.run(['login', '--url', node.url, 'ana'], {
      input: 'first-password-1\nsecond-password-2\n',
    });
    expect(changed.code).toBe(0);
    expect((await ana.run(['users', 'list'])).code).toBe(EXIT_CODES.forbidden.code);
    expect((await caller.run(['users', 'role', 'ana', 'admin'])).code).toBe(0);
    // Ended the session.
    expect((await ana.run(['token'])).code).toBe(EXIT_CODES.unauthenticated.code);
    expect((await caller.run(['users', 'reset-password', 'ana'], { input: 'third-password-3\n' })).code).toBe(0);
    const again = await ana.run(['login', '--url', node.url, 'ana'], {
      input: 'third-password-3\nfourth-password-4\n',
    });
    expect(again.code).toBe(0);
    expect((await ana.run(['users', 'list'])).code).toBe(0);
  } finally {
    await ana.stop();
  }
  expect((await caller.run(['users', 'delete', 'ana'])).code).toBe(0);
  expect((await list()).map(({ username }) => username)).not.toContain('ana');
  const gone = await caller.run(['users', 'delete', 'ana']);
  expect(gone).toMatchObject({ code: EXIT_CODES.failed.code, err: "decnet-live: there is no user 'ana'\n" });
});
