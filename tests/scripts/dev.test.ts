import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { until } from '../support/until.ts';

const SCRIPT = resolve(import.meta.dir, '../../scripts/dev.ts');

// A first start hashes two passwords and brings up a Redis of its own.
const START_LIMIT_MS = 20_000;

let folder: string;
const running: Bun.Subprocess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'decnet-dev-'));
});

afterEach(async () => {
  for (const child of running.splice(0)) {
    child.kill('SIGTERM');
    await child.exited;
  }
  await rm(folder, { recursive: true, force: true });
});

/** Runs `scripts/dev.ts` in the folder of the test, where no `.env` of a developer lies. */
function run(args: readonly string[], env: Record<string, string> = {}) {
  const child = Bun.spawn([process.execPath, SCRIPT, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, DECNET_API_PORT: '0', ...env },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  running.push(child);
  const output = { text: '' };
  const collect = async (stream: ReadableStream<Uint8Array>) => {
    for await (const chunk of stream) output.text += Buffer.from(chunk).toString();
  };
  const closed = Promise.all([collect(child.stdout), collect(child.stderr)]);
  return {
    child,
    /** All that it said, once it has ended. */
    async ended() {
      const code = await child.exited;
      await closed;
      return { code, text: output.text };
    },
    /** Its address and the passwords that it printed, once it is up. */
    async greeted() {
      const greeting = 'Ctrl-C stops it.';
      await until(
        `the greeting of scripts/dev.ts; it said: ${output.text}`,
        () => output.text.includes(greeting) || child.exitCode !== null,
        START_LIMIT_MS,
      );
      expect(output.text).toContain(greeting);
      const url = /runs at (\S+)/.exec(output.text)?.[1] ?? '';
      const passwords = Object.fromEntries(
        Array.from(output.text.matchAll(/sign in as (\w+) +(\S+)/g), ([, name = '', password = '']) => [
          name,
          password,
        ]),
      );
      return { url, passwords, text: output.text };
    },
    async interrupt() {
      child.kill('SIGINT');
      return (await this.ended()).code;
    },
  };
}

function signIn(url: string, username: string, password: string | undefined): Promise<number> {
  const request = fetch(new URL('/api/v1/auth/login', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
  return request.then(({ status }) => status);
}

describe('a development start', () => {
  test('prints passwords once, keeps users and signing key, and ends by an interrupt with 0', async () => {
    const first = run([]);
    const { url, passwords } = await first.greeted();
    expect(Object.keys(passwords).sort()).toEqual(['admin', 'viewer']);
    expect(await signIn(url, 'admin', passwords.admin)).toBe(200);
    expect(await signIn(url, 'viewer', passwords.viewer)).toBe(200);
    expect(await first.interrupt()).toBe(0);

    const secret = join(folder, '.data/dev-secret');
    const key = await readFile(secret, 'utf8');
    expect(key).toMatch(/^[0-9a-f]{64}\n$/);
    expect((await stat(secret)).mode & 0o777).toBe(0o600);

    const second = run(['--no-demo']);
    const again = await second.greeted();
    expect(again.passwords).toEqual({});
    expect(again.text).toContain('--reset-passwords');
    expect(await signIn(again.url, 'admin', passwords.admin)).toBe(200);
    expect(await readFile(secret, 'utf8')).toBe(key);
    expect(await second.interrupt()).toBe(0);
  });

  test('gives new passwords when asked to', async () => {
    const first = run(['--no-demo']);
    const before = await first.greeted();
    await first.interrupt();
    const { url, passwords } = await run(['--no-demo', '--reset-passwords']).greeted();
    expect(await signIn(url, 'admin', passwords.admin)).toBe(200);
    expect(await signIn(url, 'admin', before.passwords.admin)).toBe(401);
  });

  test('leaves an administrator with a configured password alone', async () => {
    const password = 'walnut-tree-41';
    const { url, passwords } = await run(['--no-demo'], { DECNET_ADMIN_PASSWORD: password }).greeted();
    expect(Object.keys(passwords)).toEqual(['viewer']);
    expect(await signIn(url, 'admin', password)).toBe(200);
  });

  test('that cannot use a setting names it and ends with 1', async () => {
    const { code, text } = await run([], { DECNET_LOG_LEVEL: 'loud' }).ended();
    expect(code).toBe(1);
    expect(text).toStartWith('Cannot start: DECNET_LOG_LEVEL ');
  });

  test('with an option that it does not know shows those that it does', async () => {
    const { code, text } = await run(['--demos']).ended();
    expect(code).toBe(1);
    expect(text).toContain("'--demos'");
    expect(text).toContain('--reset-passwords');
  });

  test('on a taken port says how to choose another', async () => {
    const squatter = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response() });
    const { code, text } = await run(['--no-demo'], { DECNET_API_PORT: String(squatter.port) }).ended();
    await squatter.stop(true);
    expect(code).toBe(1);
    expect(text).toContain('DECNET_API_PORT');
  });
});
