import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { chmod, cp, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lockFolder } from '../../src/bus/folder-lock.ts';
import { privateSocket } from '../../src/bus/private-socket.ts';
import { RedisChild } from '../../src/bus/redis-child.ts';
import { until } from '../support/until.ts';
import { EmbeddedFixture, isAlive, kill, pidOf } from './embedded-support.ts';

let fixture: EmbeddedFixture;
let folder: string;
beforeEach(async () => {
  fixture = await EmbeddedFixture.create();
  folder = fixture.folder;
});
afterEach(() => fixture.stop());

const LONG = join('x'.repeat(60), 'y'.repeat(60));

describe('a server that outlived its owner', () => {
  test.each([
    ['', 'a short path'],
    [LONG, 'a path too long for a socket'],
  ])('is ended, and its successor supervised: %# (%p)', async (path) => {
    const dataDir = join(folder, path);
    const orphan = await fixture.orphan(dataDir);

    const server = await fixture.start(dataDir);
    expect(isAlive(orphan.pid)).toBe(false);
    expect(fixture.said).toContain('left behind');
    expect(fixture.said).not.toContain('killing it');
    expect(server.socket).toBe(orphan.socket);
    const client = fixture.connect(server.socket);
    expect(await client.get('kept')).toBe('yes');

    const pid = await pidOf(client);
    await kill(pid);
    await until('another one', async () => (await pidOf(client)) !== pid);
    expect(await client.get('kept')).toBe('yes');
  });

  test('and hangs is killed: it must not wake up as a second writer', async () => {
    const orphan = await fixture.orphan();
    process.kill(orphan.pid, 'SIGSTOP');
    const { socket } = await fixture.start(folder, { orphanMs: 50 });
    expect(isAlive(orphan.pid)).toBe(false);
    expect(await fixture.connect(socket).get('kept')).toBe('yes');
  });

  test.skipIf(process.platform !== 'linux')('is found in a folder that was moved meanwhile', async () => {
    const orphan = await fixture.orphan(join(folder, 'old'));
    await rename(join(folder, 'old'), join(folder, 'new'));
    const { socket } = await fixture.start(join(folder, 'new'));
    expect(isAlive(orphan.pid)).toBe(false);
    expect(await fixture.connect(socket).get('kept')).toBe('yes');
  });

  test('and its record stops the start: nobody may write beside it', async () => {
    const orphan = await fixture.orphan();
    await rm(join(folder, 'redis', 'redis.pid'));
    await expect(fixture.start()).rejects.toThrow(`an unknown server listens on ${orphan.socket}`);
    await kill(orphan.pid);
    await fixture.start();
  });
});

const commandLineOf = (pid: number) => Bun.spawnSync(['ps', '-o', 'args=', '-p', String(pid)]).stdout.toString();

describe('a record that names another process', () => {
  const innocents: [string, string[], (data: string) => string][] = [
    ['that is no server', ['sleep', '60'], (data) => data],
    ['elsewhere, that mentions one', ['sh', '-c', 'sleep 60; true', 'redis-server'], () => '/'],
  ];
  test.each(innocents)('%s ends nothing', async (_, command, cwd) => {
    const data = join(folder, 'redis');
    await mkdir(data, { mode: 0o700 });
    const innocent = Bun.spawn(command, { cwd: cwd(data), stdout: 'ignore' });
    try {
      // Before that it could still become anything.
      await until('it to be what it is', () => commandLineOf(innocent.pid).includes('sleep'));
      await writeFile(join(data, 'redis.pid'), `${innocent.pid}\n`);
      await fixture.start();
      expect(isAlive(innocent.pid)).toBe(true);
    } finally {
      innocent.kill('SIGKILL');
      await innocent.exited;
    }
  });

  test('because the folder was copied ends nothing: both run', async () => {
    const original = fixture.connect((await fixture.start()).socket);
    const pid = await pidOf(original);
    await cp(join(folder, 'redis'), join(folder, 'copy', 'redis'), {
      recursive: true,
      filter: (path) => !path.endsWith('.sock'),
    });
    const copy = fixture.connect((await fixture.start(join(folder, 'copy'))).socket);
    expect(await pidOf(copy)).not.toBe(pid);
    expect(await pidOf(original)).toBe(pid);
  });

  test.each(['', '0', '-1', '1 2', 'no number'])('not at all (%p) is no obstacle', async (text) => {
    await mkdir(join(folder, 'redis'), { mode: 0o700 });
    await writeFile(join(folder, 'redis', 'redis.pid'), text);
    await fixture.start();
  });
});

test('a server whose record cannot be written never runs', async () => {
  await mkdir(join(folder, 'redis.pid'));
  const socket = join(folder, 'redis.sock');
  const command = Bun.which('redis-server') ?? 'missing';
  expect(() => new RedisChild(command, folder, socket, fixture.log)).toThrow('EISDIR');
  if (process.platform === 'linux') {
    // Either it is still at the gate, or it has ended there.
    await until('the gate to close', () => inhabitants(folder).length === 0);
  }
  expect(existsSync(socket)).toBe(false);
  expect(readdirSync(folder)).toEqual(['redis.pid']);
});

/** Processes that work in a folder. */
function inhabitants(place: string): string[] {
  const { dev, ino } = statSync(place);
  return readdirSync('/proc').filter((name) => {
    try {
      const cwd = statSync(`/proc/${name}/cwd`);
      return /^\d/.test(name) && cwd.dev === dev && cwd.ino === ino;
    } catch {
      return false; // Ended meanwhile.
    }
  });
}

describe('a data folder with an owner', () => {
  test('refuses another at once, of this process and of any other, by whatever name', async () => {
    const server = await fixture.start();
    const pid = await pidOf(fixture.connect(server.socket));
    const advice = /another decnet-live runs an embedded Redis on .*redis: .*DECNET_DATA_DIR.*REDIS_URL/;
    await expect(fixture.start()).rejects.toThrow(advice);
    await symlink(folder, `${folder}-link`);
    try {
      await expect(fixture.start(`${folder}-link`)).rejects.toThrow(advice);
    } finally {
      await rm(`${folder}-link`);
    }
    const { outcome } = await (await fixture.owner()).start();
    expect(outcome).toMatch(advice);
    expect(await pidOf(fixture.connect(server.socket))).toBe(pid);
  });

  test('is free again when that could not start', async () => {
    await fixture.start(); // Makes the folder.
    await fixture.stop();
    const data = join(folder, 'redis', 'appendonlydir');
    await mkdir(data, { recursive: true });
    await writeFile(join(data, 'appendonly.aof.manifest'), 'this is no manifest\n');
    await expect(fixture.start()).rejects.toThrow('unusable');
    await rm(data, { recursive: true });
    await fixture.start();
  });

  test.each([false, true])(
    'has one, however many start at the same instant (over an orphan: %p)',
    async (isOrphaned) => {
      const orphan = isOrphaned ? await fixture.orphan() : undefined;
      const owners = await Promise.all(Array.from({ length: 4 }, () => fixture.owner()));
      const outcomes = await Promise.all(owners.map((owner) => owner.start()));
      expect(outcomes.filter(({ pid }) => pid > 0)).toHaveLength(1);
      expect(outcomes.filter(({ outcome }) => outcome.startsWith('refused: another decnet-live'))).toHaveLength(3);
      if (orphan !== undefined) expect(isAlive(orphan.pid)).toBe(false);
      if (process.platform === 'linux') expect(inhabitants(join(folder, 'redis'))).toHaveLength(1);
    },
  );
});

describe('the lock of a folder', () => {
  test('holds until it is released, which may be done twice', () => {
    const release = lockFolder(folder);
    expect(release).toBeDefined();
    expect(lockFolder(folder)).toBeUndefined();
    release?.();
    const again = lockFolder(folder);
    expect(again).toBeDefined();
    release?.();
    expect(lockFolder(folder)).toBeUndefined();
    again?.();
  });

  test('holds though nobody keeps it', () => {
    lockFolder(folder);
    Bun.gc(true);
    expect(lockFolder(folder)).toBeUndefined();
  });

  test('leaves one empty file', () => {
    lockFolder(folder)?.();
    expect(readdirSync(folder)).toEqual(['owner.lock']);
    expect(statSync(join(folder, 'owner.lock')).size).toBe(0);
  });
});

describe('the socket of a path that is too long', () => {
  const temporary = process.env.TMPDIR;
  beforeEach(() => {
    process.env.TMPDIR = folder;
  });
  afterEach(() => {
    if (temporary === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = temporary;
  });

  const long = (name: string) => join('/', LONG, name);

  test('is its own, the same each time, in a folder of this user alone', () => {
    expect(privateSocket(long('a'))).toBe(privateSocket(long('a')));
    expect(privateSocket(long('b'))).not.toBe(privateSocket(long('a')));
    const place = join(privateSocket(long('a')), '..');
    expect(place.startsWith(folder)).toBe(true);
    expect(statSync(place).mode & 0o777).toBe(0o700);
  });

  test('is not where others can put one: an open folder, a link, a file', async () => {
    const place = join(privateSocket(long('a')), '..');
    await chmod(place, 0o777);
    expect(() => privateSocket(long('a'))).toThrow('not a folder of this user alone');
    await rm(place, { recursive: true });
    await mkdir(join(folder, 'theirs'), { mode: 0o700 });
    await symlink(join(folder, 'theirs'), place);
    expect(() => privateSocket(long('a'))).toThrow('not a folder of this user alone');
  });
});
