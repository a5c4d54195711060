import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { appendFile, chmod, mkdir, readdir, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { pingRedis } from '../../src/bus/redis-ping.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { until } from '../support/until.ts';
import { EmbeddedFixture, isAlive, kill, pidOf } from './embedded-support.ts';

let fixture: EmbeddedFixture;
let folder: string;
beforeEach(async () => {
  fixture = await EmbeddedFixture.create();
  folder = fixture.folder;
});
afterEach(() => fixture.stop());

const start = (...args: Parameters<EmbeddedFixture['start']>) => fixture.start(...args);
const connect = ({ socket }: { readonly socket: string }) => fixture.connect(socket);

/** The file that Redis appends to. */
async function appendOnlyFile(): Promise<string> {
  const data = join(folder, 'redis', 'appendonlydir');
  const name = (await readdir(data)).find((file) => file.endsWith('.incr.aof'));
  return join(data, name ?? 'missing');
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

  test('keeps its data over stops, however quickly it is started again', async () => {
    for (const round of ['1', '2', '3', '4']) {
      const server = await start();
      expect(await connect(server).incr('rounds')).toBe(Number(round));
      await server.stop();
    }
    expect(fixture.said).not.toContain('left behind');
  });

  test('ends with its stop, which may be called twice', async () => {
    const server = await start();
    const pid = await pidOf(connect(server));
    await Promise.all([server.stop(), server.stop()]);
    await server.stop();
    expect(isAlive(pid)).toBe(false);
    expect(fixture.said).not.toContain('ended unasked');
  });

  test('is started again whenever it is killed, with its data', async () => {
    const client = connect(await start());
    await client.set('kept', 'yes');
    for (const round of [1, 2]) {
      const pid = await pidOf(client);
      await kill(pid);
      await until(`another one, ${round}`, async () => (await pidOf(client)) !== pid);
      expect(await client.get('kept')).toBe('yes');
    }
    expect(fixture.said).toContain('"reason":"SIGKILL"');
  });

  test('stopped right after it was killed stays down', async () => {
    const server = await start();
    const pid = await pidOf(connect(server));
    process.kill(pid, 'SIGKILL');
    await server.stop();
    // Whoever starts next finds no other on the same data.
    await start();
    expect(fixture.said).not.toContain('left behind');
  });

  test('works under a path that is too long for a socket, and leaves nothing behind', async () => {
    const deep = join(folder, 'x'.repeat(60), 'y'.repeat(60));
    const server = await start(deep);
    expect(Buffer.byteLength(server.socket)).toBeLessThan(104);
    await connect(server).set('kept', 'yes');
    await server.stop();
    await expect(stat(server.socket)).rejects.toThrow('ENOENT');
    const next = await start(deep);
    expect(next.socket).toBe(server.socket);
    expect(await connect(next).get('kept')).toBe('yes');
  });

  test('on data that it cannot read says so at once, in its own words', async () => {
    const data = join(folder, 'redis', 'appendonlydir');
    await mkdir(data, { recursive: true });
    await writeFile(join(data, 'appendonly.aof.manifest'), 'this is no manifest\n');
    await chmod(data, 0o700);
    await expect(startEmbeddedRedis(folder, createLog('error'))).rejects.toThrow(
      /Invalid AOF manifest.*its data folder may be unusable/,
    );
  });

  test('starts after a power cut in the middle of a write, and tells what it dropped', async () => {
    const server = await start();
    await connect(server).set('kept', 'yes');
    await server.stop();
    await appendFile(await appendOnlyFile(), '*3\r\n$3\r\nSET\r\n$4\r\nke');
    expect(await connect(await start()).get('kept')).toBe('yes');
    expect(fixture.said).toContain('Truncating the AOF');
  });

  test.skipIf(!existsSync('/dev/full'))('whose disk is full says so in the log, and comes back', async () => {
    await (await start()).stop();
    const file = await appendOnlyFile();
    await rename(file, `${file}.real`);
    await symlink('/dev/full', file);
    const client = connect(await start());
    const written = client.set('kept', 'yes'); // Repeated until one takes it.
    await until('its reason', () => /ended unasked[^}]*No space left on device/.test(fixture.said));
    await rename(`${file}.real`, file);
    expect(await written).toBe('OK');
  });

  test('that is silent is told of, left alone, and told of again when it answers', async () => {
    const client = connect(await start(folder, { silenceMs: 50 }));
    const pid = await pidOf(client);
    process.kill(pid, 'SIGSTOP');
    try {
      await until('the word', () => fixture.said.includes('does not answer'));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until('the word', () => fixture.said.includes('answers again'));
    expect(await pidOf(client)).toBe(pid);
  });
});

describe('a Redis that is asked whether it answers', () => {
  test('is absent without a socket, and when nobody listens on it any more', async () => {
    expect(await pingRedis(join(folder, 'none.sock'), 10_000)).toBe('absent');
    const { pid, socket } = await fixture.orphan();
    await kill(pid);
    expect(existsSync(socket)).toBe(true);
    // The kernel takes a moment to close what a killed process had open.
    await until('nobody to listen', async () => (await pingRedis(socket, 10_000)) === 'absent');
  });

  test('is not ready while it loads', async () => {
    const server = await start();
    const client = connect(server);
    await client.eval('for key = 1, 5000 do redis.call("SET", key, key) end', 0);
    await server.stop();
    const slow = Bun.spawn(
      [
        ...['redis-server', '--port', '0', '--unixsocket', server.socket, '--dir', join(folder, 'redis')],
        ...['--appendonly', 'yes', '--key-load-delay', '500'],
      ],
      { stdout: 'ignore' },
    );
    try {
      await until('it to load', async () => (await pingRedis(server.socket, 10_000)) === 'loading');
    } finally {
      slow.kill('SIGKILL');
      await slow.exited;
    }
  });
});
