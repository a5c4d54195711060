import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BusSocket, startBusSocket } from '../../src/bus-socket/server.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { Peer } from './support.ts';

describe('the file of the bus socket', () => {
  let folder: string;
  let path: string;
  let started: BusSocket[];
  let lines: string[];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'decnet-bus-'));
    path = join(folder, 'bus.sock');
    started = [];
    lines = [];
  });
  afterEach(async () => {
    for (const socket of started) await socket.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const start = async (options: { group?: string; path?: string } = {}) => {
    const group = String(process.getgid?.() ?? 0);
    const socket = await startBusSocket({
      options: { path, group, publish: ['>'], subscribe: ['>'], ...options },
      events: { publish: async () => [] },
      logger: createLog('debug', (line) => lines.push(line)),
    });
    if (socket === undefined) throw new Error('it does not listen');
    started.push(socket);
    return socket;
  };

  /** A socket that nobody listens on: its process was killed. */
  const leaveStale = async () => {
    const script = `require('node:fs'); Bun.listen({ unix: process.argv[1], socket: { data() {} } });
      console.log('listening'); process.stdin.resume();`;
    const child = Bun.spawn([process.execPath, '-e', script, path], { stdout: 'pipe', stdin: 'pipe' });
    await child.stdout.getReader().read();
    child.kill('SIGKILL');
    await child.exited;
    expect((await lstat(path)).isSocket()).toBe(true);
  };

  test('is for its owner and the group, and goes when it stops', async () => {
    const socket = await start();
    const found = await lstat(path);
    expect(found.isSocket()).toBe(true);
    expect(found.mode & 0o777).toBe(0o660);
    expect(await readdir(folder)).toEqual(['bus.sock']);
    await socket.stop();
    expect(await readdir(folder)).toEqual([]);
  });

  test('keeps the group of the process where the configured one is not known, and says so', async () => {
    await start({ group: 'no-such-group-here' });
    expect((await lstat(path)).mode & 0o777).toBe(0o660);
    expect(lines.some((line) => line.includes('no-such-group-here'))).toBe(true);
  });

  test.skipIf(process.getuid?.() !== 0)('gets the configured group', async () => {
    await start({ group: '54321' });
    expect(await lstat(path)).toMatchObject({ gid: 54321 });
  });

  test('a stale one is replaced', async () => {
    await leaveStale();
    await start();
    const peer = await Peer.connect(path);
    peer.close();
    expect(await readdir(folder)).toEqual(['bus.sock']);
  });

  test('a live one is not stolen, and goes on', async () => {
    await start();
    const before = await lstat(path);
    await expect(start()).rejects.toThrow(`${path}: another process listens there`);
    expect(await lstat(path)).toMatchObject({ ino: before.ino });
    expect(await readdir(folder)).toEqual(['bus.sock']);
    (await Peer.connect(path)).close();
  });

  test.each(['nothing', 'a stale socket'])('of several that begin at once over %s one wins', async (what) => {
    if (what === 'a stale socket') await leaveStale();
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => start()));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(String(result.reason)).toContain('another process listens there');
    }
    expect(await readdir(folder)).toEqual(['bus.sock']);
    (await Peer.connect(path)).close();
  });

  test('nothing else than a socket is ever removed', async () => {
    await writeFile(path, 'precious');
    await expect(start()).rejects.toThrow('is no socket');
    expect(await readFile(path, 'utf8')).toBe('precious');

    await rm(path);
    await mkdir(path);
    await expect(start()).rejects.toThrow('is no socket');

    await rm(path, { recursive: true });
    await symlink(join(folder, 'nowhere'), path);
    await expect(start()).rejects.toThrow('is no socket');
    expect(await readdir(folder)).toEqual(['bus.sock']);
  });

  test('a socket that has taken its place is left alone when it stops', async () => {
    const socket = await start();
    await rm(path);
    const other = Bun.listen({ unix: path, socket: { data() {} } });
    try {
      await socket.stop();
      (await Peer.connect(path)).close();
      expect(await readdir(folder)).toEqual(['bus.sock']);
    } finally {
      other.stop(true);
    }
  });

  test('says what is wrong with its folder', async () => {
    await expect(start({ path: join(folder, 'missing', 'bus.sock') })).rejects.toThrow('has to exist');
    await expect(start({ path: join(folder, 'x'.repeat(150), 'bus.sock') })).rejects.toThrow('DECNET_BUS_SOCKET');
  });

  test('may have as long a name as the system allows', async () => {
    const long = join(folder, 'x'.repeat(100 - Buffer.byteLength(folder)));
    await start({ path: long });
    (await Peer.connect(long)).close();
  });
});
