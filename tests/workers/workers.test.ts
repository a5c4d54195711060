import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { App } from '../../src/main.ts';
import { KNOWN_WORKERS } from '../../src/worker/heartbeat-projection.ts';
import { startAll } from '../../src/workers/start-all.ts';
import { Supervisor } from '../../src/workers/supervisor.ts';
import { Clients } from '../integration/support.ts';
import { call, createPlane, type Plane } from '../support/app.ts';
import { until } from '../support/until.ts';

describe('the supervisor command', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'decnet-supervisor-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const supervisor = async (script: string, timeoutMs = 10_000) => {
    const path = join(folder, 'start');
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o700);
    return new Supervisor({ command: [path, 'a b', 'decnet-{worker}.service'], workers: KNOWN_WORKERS, timeoutMs });
  };
  const outcome = (starting: Promise<void>) =>
    starting.then(
      () => 'started',
      (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
    );

  test('is run by words, with the worker`s name in its place and without this process`s secrets', async () => {
    const made = await supervisor(`printf '%s|' "$@" "$TEST_POSTGRES_URL" > '${folder}/said'`);
    expect(await outcome(made.start('reuse-correlator'))).toBe('started');
    // This process has it, from its beginning.
    expect(process.env.TEST_POSTGRES_URL).toBeString();
    expect(await readFile(join(folder, 'said'), 'utf8')).toBe('a b|decnet-reuse-correlator.service||');
  });

  test('that fails is quoted by its first line, cut', async () => {
    const made = await supervisor(`printf '\\n%s\\nmore\\n' "${'x'.repeat(300)}" >&2; exit 3`);
    expect(await outcome(made.start('mutator'))).toBe(`bad_gateway: ${'x'.repeat(200)}`);
    const silent = await supervisor('exit 4');
    expect(await outcome(silent.start('mutator'))).toBe('bad_gateway: The supervisor command failed with code 4');
  });

  test('that never ends is killed; one whose children keep its output open is not waited for', async () => {
    const endless = await supervisor('exec sleep 600', 100);
    expect(await outcome(endless.start('mutator'))).toBe('bad_gateway: Starting mutator took longer than 100 ms');
    const leaving = await supervisor(`(echo $$ > '${folder}/x'; exec sleep 20) & echo $! > '${folder}/pid'; exit 0`);
    expect(await outcome(leaving.start('mutator'))).toBe('started');
    process.kill(Number(await readFile(join(folder, 'pid'), 'utf8')), 'SIGKILL');
  });

  test('that says more than anybody reads does not fill the memory, nor hang', async () => {
    const made = await supervisor('yes >&2 & noise=$!; sleep 0.1; kill -9 $noise; exit 5');
    expect(await outcome(made.start('mutator'))).toBe('bad_gateway: y');
  });

  test('that is not there is not told by its path', async () => {
    const made = new Supervisor({ command: [join(folder, 'none'), '{worker}'], workers: KNOWN_WORKERS });
    expect(await outcome(made.start('mutator'))).toContain('DECNET_SUPERVISOR_COMMAND');
  });

  test('runs once for a worker that several ask for at once', async () => {
    const made = await supervisor(`echo x >> '${folder}/said'; sleep 0.1`);
    await Promise.all([made.start('mutator'), made.start('mutator'), made.start('mutator')]);
    expect(await readFile(join(folder, 'said'), 'utf8')).toBe('x\n');
  });
});

describe('starting all', () => {
  const ALL = KNOWN_WORKERS.map((name) => ({
    name,
    status: name === 'sniffer' ? ('ok' as const) : ('unknown' as const),
  }));

  test('begins with what others need, leaves alone what runs, and goes on after a failure', async () => {
    const asked: string[] = [];
    const supervisor = {
      canStart: (name: string) => name !== 'agent',
      start: async (name: string) => {
        asked.push(name);
        if (name === 'prober') throw new Error('no raw sockets');
      },
    };
    const result = await startAll(supervisor, ALL);
    expect(asked.slice(0, 5)).toEqual(['bus', 'api', 'collector', 'profiler', 'prober']);
    expect(asked).toHaveLength(17);
    expect(result.already_running).toEqual(['sniffer']);
    expect(result.failed).toEqual([{ name: 'prober', reason: 'no raw sockets' }]);
    expect(result.started).not.toContain('agent');
  });

  test('gives up in time, and says who was not reached', async () => {
    const supervisor = { canStart: () => true, start: async () => {} };
    const { started, failed } = await startAll(supervisor, ALL, -1);
    expect([started, failed.length]).toEqual([[], 18]);
  });

  test('starts nobody where nothing is configured', async () => {
    expect(await startAll(undefined, ALL)).toEqual({ started: [], already_running: [], failed: [] });
  });
});

describe('the page of workers', () => {
  let plane: Plane;
  let node: App;
  let admin: string;
  let viewer: string;
  const clients = new Clients();

  beforeAll(async () => {
    plane = await createPlane();
    node = await plane.node(
      {},
      { DECNET_SUPERVISOR_COMMAND: 'true {worker}', DECNET_SUPERVISOR_WORKERS: 'prober,ttp' },
    );
    admin = await plane.token(node.url);
    viewer = await plane.token(node.url, 'viewer');
  });
  afterEach(() => clients.close());
  afterAll(() => plane.stop());

  const ask = async (method: string, path: string, token = admin) => {
    const response = await call(node.url, token, method, path);
    return { status: response.status, body: JSON.parse(await response.text()) };
  };

  test('its requests: the list, stop, start, start all', async () => {
    const list = await ask('GET', '/workers', viewer);
    expect(list).toMatchObject({ status: 200, body: { bus_connected: true, generated_at: expect.any(Number) } });
    expect(list.body.workers).toHaveLength(19);
    // Nothing beats its heart here: it is the API that answers, and the bus that it is connected to.
    const ok = list.body.workers.filter((row: { status: string }) => row.status === 'ok');
    expect(ok.map(({ name }: { name: string }) => name)).toEqual(['api', 'bus']);
    const installed = list.body.workers.filter((row: { installed: boolean }) => row.installed);
    expect(installed.map(({ name }: { name: string }) => name)).toEqual(['prober', 'ttp']);
    const stream = await clients.open(node, '/events?topics=system.*.control', { token: admin });
    await until('the stream', () => stream.named('ready').length > 0);
    expect(await ask('POST', '/workers/prober/stop')).toEqual({
      status: 202,
      body: { accepted: true, worker: 'prober', action: 'stop' },
    });
    const told = await until('the order', () => stream.frames.find(({ data }) => data.includes('"stop"')));
    expect(JSON.parse(told.data)).toMatchObject({
      topic: 'system.prober.control',
      type: 'control',
      payload: { action: 'stop', requested_by: 'admin-user', ts: expect.any(Number) },
    });
    expect(await ask('POST', '/workers/prober/start')).toEqual({
      status: 202,
      body: { accepted: true, worker: 'prober', action: 'start' },
    });
    expect(await ask('POST', '/workers/start-all')).toEqual({
      status: 200,
      body: { started: ['prober', 'ttp'], already_running: [], failed: [] },
    });
  });

  test('who is refused, and why', async () => {
    expect(await ask('POST', '/workers/zz/stop')).toEqual({ status: 404, body: { detail: "Unknown worker: 'zz'" } });
    expect((await ask('POST', '/workers/zz/start')).status).toBe(404);
    expect(await ask('POST', '/workers/mutator/start')).toEqual({
      status: 503,
      body: { detail: expect.stringContaining('mutator') },
    });
    for (const path of ['/workers/zz/stop', '/workers/prober/start', '/workers/start-all']) {
      expect((await ask('POST', path, viewer)).status).toBe(403);
    }
  });

  test('without Redis the list says so, and a stop is refused', async () => {
    const other = await createPlane();
    try {
      const alone = await other.node();
      const token = await other.token(alone.url);
      await other.redis.stop();
      const list = await call(alone.url, token, 'GET', '/workers');
      const body = JSON.parse(await list.text());
      expect(body.bus_connected).toBe(false);
      const status = (name: string) => body.workers.find((row: { name: string }) => row.name === name).status;
      expect([status('api'), status('bus')]).toEqual(['ok', 'unknown']);
      const stop = await call(alone.url, token, 'POST', '/workers/prober/stop');
      expect([stop.status, await stop.json()]).toEqual([503, { detail: 'bus unavailable' }]);
    } finally {
      await other.stop();
    }
  });
});
