import { afterAll, beforeAll, expect, test } from 'bun:test';
import { join, resolve } from 'node:path';
import { version } from '../../package.json';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { jsonLine, printable } from '../../src/cli/printable.ts';
import { Caller, PROGRAM } from './support.ts';

const ROOT = resolve(import.meta.dir, '../..');
const COMMANDS = ['tail', 'publish', 'login', 'logout', 'token', 'users', 'accounts', 'doctor'];

let caller: Caller;
beforeAll(async () => {
  caller = await Caller.create();
});
afterAll(() => caller.stop());

test('help of each command says the same exit codes as the code', async () => {
  const codes = Object.values(EXIT_CODES).map(({ code, when }) => `${String(code).padStart(5)}  ${when}`);
  for (const args of [[], ...COMMANDS.map((name) => [name]), ['users', 'create'], ['accounts', 'rotate']]) {
    const { code, out, err } = await caller.run([...args, '--help']);
    expect([code, err]).toEqual([0, '']);
    expect(out.split('\n').filter((line) => /^ {2,4}\d+ {2}\S/.test(line))).toEqual(codes);
  }
});

test('README says the same', async () => {
  const readme = await Bun.file(join(ROOT, 'README.md')).text();
  const section = readme.slice(readme.indexOf('## Command line'), readme.indexOf('## Measured'));
  const rows = [...section.matchAll(/^\| (\d+) \| (.*) \|$/gm)].map(([, code, when]) => ({ code: Number(code), when }));
  expect(rows).toEqual(Object.values(EXIT_CODES).map(({ code, when }) => ({ code, when })));
});

test('no two ends of a command have the same code', () => {
  const codes = Object.values(EXIT_CODES).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
});

test('tells its version', async () => {
  expect(await caller.run(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' });
});

test('is a program by itself, as package.json says', async () => {
  const { bin } = await Bun.file(join(ROOT, 'package.json')).json();
  expect(resolve(ROOT, bin['decnet-live'])).toBe(PROGRAM);
  const child = Bun.spawn([PROGRAM, '--version'], {
    env: { PATH: `${join(process.execPath, '..')}:${process.env.PATH}` },
  });
  expect((await child.stdout.text()).trim()).toBe(version);
});

test.each([
  [[], ''],
  [['nope'], "unknown command 'nope'"],
  [['users', 'nope'], "unknown command 'nope'"],
  [['users', 'role', 'ana', 'king'], 'Allowed choices are admin, viewer'],
  [['tail', '>', '--nope'], "unknown option '--nope'"],
  [['tail', 'a..b'], 'segment'],
  [['tail', '>', '--limit', '0'], 'whole number'],
  [['accounts', 'create', 'a', '--publish', 'a..b'], 'segment'],
  [['accounts', 'rotate', 'a', '--grace', 'soon'], '10m'],
])('a command line that cannot be used: %j', async (args, text) => {
  const { code, out, err } = await caller.run(args);
  expect([code, out]).toEqual([EXIT_CODES.usage.code, '']);
  expect(err).toContain(text);
  if (args.length > 0) expect(err).toMatch(/^decnet-live: [^\n]+\n$/);
});

test.each(['bash', 'zsh', 'fish'])('completion for %s is a script that its shell can read', async (shell) => {
  const { code, out } = await caller.run(['completion', shell]);
  expect(code).toBe(0);
  expect(out).toContain('decnet-live complete --');
  if (Bun.which(shell) === null) return;
  const child = Bun.spawn([shell, '-n'], { stdin: new Blob([out]), stderr: 'pipe' });
  expect([await child.exited, await child.stderr.text()]).toEqual([0, '']);
});

test('completes commands, options and values', async () => {
  const words = async (...args: string[]) => {
    const { out } = await caller.run(['complete', '--', ...args]);
    return out.split('\n').map((line) => line.split('\t')[0]);
  };
  expect(await words('')).toEqual(expect.arrayContaining(COMMANDS));
  expect(await words('tail', '--si')).toContain('--since');
  expect(await words('users', 'cr')).toContain('create');
  expect(await words('users', 'create', 'ana', '--role', '')).toEqual(expect.arrayContaining(['admin', 'viewer']));
});

test('nothing that a terminal obeys gets to it', () => {
  const hostile = 'a\u001b]0;x\u0007\u0085\u009b2J\u202e\u2066\r\nb é 漢';
  expect(printable(hostile)).toBe('a\\u001b]0;x\\u0007\\u0085\\u009b2J\\u202e\\u2066\\u000d\\u000ab é 漢');
  expect(jsonLine({ hostile })).not.toMatch(/[\u0080-\u009f\u202e]/);
  expect(JSON.parse(jsonLine({ hostile }))).toEqual({ hostile });
});
