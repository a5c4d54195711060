import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { until } from '../support/until.ts';

let folder: string;
let lines: string[];
let started: EmbeddedRedis[];
let clients: Redis[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'decnet-embedded-'));
  [lines, started, clients] = [[], [], []];
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  for (const server of started) await server.stop();
  await rm(folder, { recursive: true, force: true });
});

async function start(dataDir = folder): Promise<EmbeddedRedis> {
  const server = await startEmbeddedRedis(
    dataDir,
    createLog('debug', (line) => lines.push(line)),
  );
  started.push(server);
  return server;
}

function connect({ socket }: EmbeddedRedis): Redis {
  const client = new Redis({ path: socket, retryStrategy: () => 20 });
  client.on('error', () => {}); // Its server is killed on purpose.
  clients.push(client);
  return client;
}

const pidOf = async (client: Redis) => Number(/process_id:(\d+)/.exec(await client.info('server'))?.[1]);

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Ends it as an out-of-memory killer would. */
async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until('its end', () => !isAlive(pid));
}

describe('an embedded Redis', () => {
  test('can be reached by this user alone, on no network', async () => {
    const server = await start();
    const client = connect(server);
    expect(await client.config('GET', 'port')).toEqual(['port', '0']);
    expect((await stat(server.socket)).mode & 0o077).toBe(0);
    expect((await stat(join(folder, 'redis'))).mode & 0o077).toBe(0);
  });

  test('writes what it is told to disk and forgets nothing on its own', async () => {
    const client = connect(await start());
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
  });

  test('keeps its data over a stop', async () => {
    const server = await start();
    await connect(server).set('kept', 'yes');
    await server.stop();
    expect(await connect(await start()).get('kept')).toBe('yes');
  });

  test('ends with its stop, which may be called twice', async () => {
    const server = await start();
    const pid = await pidOf(connect(server));
    await Promise.all([server.stop(), server.stop()]);
    await server.stop();
    expect(isAlive(pid)).toBe(false);
    expect(lines.join()).not.toContain('ended unasked');
  });

  test('is started again when it is killed, with its data', async () => {
    const client = connect(await start());
    await client.set('kept', 'yes');
    const pid = await pidOf(client);
    await kill(pid);
    await until('another one', async () => (await pidOf(client)) !== pid);
    expect(await client.get('kept')).toBe('yes');
    expect(lines.join()).toContain('ended unasked');
  });

  test('stopped right after it was killed stays down', async () => {
    const server = await start();
    const pid = await pidOf(connect(server));
    process.kill(pid, 'SIGKILL');
    await server.stop();
    // Whoever starts next finds no other on the same data.
    await start();
    expect(lines.join()).not.toContain('taking over');
  });

  test('that outlived its parent is taken over: two on one append-only file would corrupt it', async () => {
    const orphan = await start();
    const pid = await pidOf(connect(orphan));
    const server = await start();
    expect(lines.join()).toContain('taking over');
    expect(server.socket).toBe(orphan.socket);
    expect(await pidOf(connect(server))).toBe(pid);
    await server.stop();
    await until('its end', () => !isAlive(pid));
  });

  test('works under a path that is too long for a socket, and leaves nothing behind', async () => {
    const deep = join(folder, 'x'.repeat(60), 'y'.repeat(60));
    await mkdir(deep, { recursive: true });
    const server = await start(deep);
    expect(Buffer.byteLength(server.socket)).toBeLessThan(104);
    await connect(server).set('kept', 'yes');
    await server.stop();
    await expect(stat(server.socket)).rejects.toThrow('ENOENT');
    expect(await connect(await start(deep)).get('kept')).toBe('yes');
  });

  test('on data that it cannot read says so at once', async () => {
    const data = join(folder, 'redis', 'appendonlydir');
    await mkdir(data, { recursive: true });
    await writeFile(join(data, 'appendonly.aof.manifest'), 'this is no manifest\n');
    await chmod(data, 0o700);
    await expect(startEmbeddedRedis(folder, createLog('error'))).rejects.toThrow('its data folder may be unusable');
  });
});
