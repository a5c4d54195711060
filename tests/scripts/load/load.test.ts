import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { until } from '../../support/until.ts';

const SCRIPT = resolve(import.meta.dir, '../../../scripts/load.ts');
const START_LIMIT_MS = 20_000;
const RUN_LIMIT_MS = 30_000;

let folder: string;
const running: Bun.Subprocess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'load-test-'));
});

afterEach(async () => {
  for (const child of running.splice(0)) {
    child.kill('SIGTERM');
    await child.exited;
  }
  await rm(folder, { recursive: true, force: true });
});

function run(first: string | Record<string, string>, ...others: string[]) {
  const [env, args] = typeof first === 'string' ? [{}, [first, ...others]] : [first, others];
  const child = Bun.spawn([process.execPath, SCRIPT, ...args], {
    // Everything temporary goes where the test can see whether it was removed.
    env: { PATH: process.env.PATH, TMPDIR: folder, ...env },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  running.push(child);
  return child;
}

describe('a load run', () => {
  test(
    'measures deliveries without loss and leaves nothing behind',
    async () => {
      const child = run('--clients=20', '--seconds=1', '--rate=50', '--json', 'latency');
      const report = JSON.parse(await new Response(child.stdout).text());
      expect(await child.exited).toBe(0);
      const [row] = report.results.latency.rows;
      expect(row).toMatchObject({ clients: 20, lost: 0, gaps: 0, repeated: 0, resets: 0 });
      expect(row['p50 ms']).toBeGreaterThan(0);
      expect(row['server CPU µs/delivery']).toBeGreaterThanOrEqual(0);
      expect(await readdir(folder)).toEqual([]);
    },
    RUN_LIMIT_MS,
  );

  test(
    'publishes over a WebSocket, one by one, pipelined and in batches',
    async () => {
      const child = run('--seconds=1', '--json', 'ws');
      const report = JSON.parse(await new Response(child.stdout).text());
      expect(await child.exited).toBe(0);
      expect(report.results.ws.rows).toHaveLength(3);
      for (const row of report.results.ws.rows) expect(row['events/s']).toBeGreaterThan(0);
    },
    RUN_LIMIT_MS,
  );

  test(
    'says so where nchan is not installed, and goes on',
    async () => {
      const redis = Bun.which('redis-server');
      if (redis === null) throw new Error('the tests need redis-server');
      const bin = join(folder, 'bin');
      await mkdir(bin);
      await symlink(redis, join(bin, 'redis-server'));
      const child = run({ PATH: bin }, '--seconds=1', '--json', 'nchan');
      const report = JSON.parse(await new Response(child.stdout).text());
      expect(await child.exited).toBe(0);
      expect(report.results.nchan.rows).toEqual([{ 'not measured': expect.stringContaining('not installed') }]);
    },
    RUN_LIMIT_MS,
  );

  test(
    'stops everything when it is interrupted',
    async () => {
      const child = run('--clients=5', '--seconds=30', '--rate=10', 'latency');
      let said = '';
      void (async () => {
        for await (const bytes of child.stderr) said += Buffer.from(bytes).toString();
      })();
      await until('the measurement to begin', () => said.includes('measuring latency'), START_LIMIT_MS);
      child.kill('SIGINT');
      expect(await child.exited).toBe(130);
      expect(await readdir(folder)).toEqual([]);
    },
    RUN_LIMIT_MS,
  );

  test.each([
    ['--clients=0', '--clients must be a whole number from 1 to 10000'],
    ['--nonsense', '--nonsense'],
    ['nonsense', 'there is no scenario nonsense'],
  ])('refuses %p before anything is started', async (arg, problem) => {
    const child = run(arg);
    const said = await new Response(child.stderr).text();
    expect(await child.exited).toBe(1);
    expect(said).toContain(problem);
    expect(said).toContain('Usage: bun run load');
  });
});
