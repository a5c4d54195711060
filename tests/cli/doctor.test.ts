import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { startEmbeddedRedis } from '../../src/bus/embedded-redis.ts';
import { keys } from '../../src/bus/keys.ts';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { publish, range } from '../integration/support.ts';
import { createPlane, type Plane } from '../support/app.ts';
import { ENGINES, quiet } from '../support/database.ts';
import { SseClient } from '../support/sse-client.ts';
import { Caller } from './support.ts';

let plane: Plane;
let redis: Redis;
let node: { readonly url: string };
let token: string;
let caller: Caller;
const closing: (() => unknown)[] = [];

async function start(engine: (typeof ENGINES)[number] = 'sqlite') {
  plane = await createPlane(engine);
  redis = plane.redis.client();
  node = await plane.node();
  token = await plane.token(node.url);
  caller = await Caller.create({ REDIS_URL: plane.redis.url, DATABASE_URL: plane.database.url });
  for (const n of range(1, 12)) await publish(node, token, 'attacker.seen', { n });
}

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await caller.stop();
  await plane.stop();
});

const ROW = { topic: 'topology.t.status', type: '', payload: '{}', bytes: 2, revisions: '{}', forget: null };

interface Told {
  readonly check: string;
  readonly status: string;
  readonly unknown: readonly string[];
  readonly findings: readonly { readonly name: string; readonly text: string; readonly advice: string }[];
}

/** What it tells, and the names of what it found: `redis.eviction`. */
async function examine(args: readonly string[] = [], env: Record<string, string> = {}) {
  const { code, out, err } = await caller.run(['doctor', '--json', ...args], { env });
  const results: Told[] = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const found = results.flatMap(({ check, findings }) => findings.map(({ name }) => `${check}.${name}`));
  return { code, err, results, found };
}

const { ok, failed, unreachable } = EXIT_CODES;

describe.each(ENGINES)('on %s', (engine) => {
  beforeEach(() => start(engine));

  test('is silent about a plane that is well, with clients, and events of several portions', async () => {
    const stream = await SseClient.open(`${node.url}/api/v1/events?topics=%3E`, { token });
    closing.push(() => stream.close());
    await stream.untilEvent('ready');
    for (const n of range(1, 4)) await publish(node, token, 'identity.formed', { n, text: 'x'.repeat(150_000) });
    expect(await caller.run(['doctor'])).toEqual({ code: ok.code, out: '', err: '' });
    const { results } = await examine();
    expect(results.map(({ check }) => check)).toEqual(['redis', 'database', 'nodes', 'relay', 'groups', 'contiguity']);
  });

  test('finds what was set aside', async () => {
    const { db } = plane.database;
    await db
      .insertInto('outbox_set_aside')
      .values({
        ...{ ...ROW, event_id: 'e1', ts: 1, tries: 5, error: 'refused', substituted: 0 },
        set_aside_at: new Date().toISOString(),
      })
      .execute();
    const { code, found, results } = await examine();
    expect([code, found]).toEqual([failed.code, ['relay.set-aside']]);
    expect(results[3]?.findings[0]).toMatchObject({ text: expect.stringContaining('e1 (topology.t.status: refused)') });
  });
});

describe('finds', () => {
  beforeEach(() => start());

  test('an eviction policy, and a log that is not synced', async () => {
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await redis.config('SET', 'appendfsync', 'everysec');
    const { code, found, results } = await examine();
    expect([code, found]).toEqual([failed.code, ['redis.appendfsync', 'redis.eviction']]);
    for (const { advice } of results[0]?.findings ?? []) expect(advice).toContain('set ');
    const { out } = await caller.run(['doctor']);
    expect(out.split('\n')).toEqual([
      expect.stringContaining('redis: appendfsync is everysec'),
      expect.stringContaining('  → set'),
      expect.stringContaining('redis: the eviction policy is allkeys-lru'),
      expect.stringContaining('  → set'),
      '',
    ]);
  });

  test('a Redis that writes nothing to disk, or has little memory left', async () => {
    await redis.config('SET', 'appendonly', 'no');
    // Nearly full: with less nothing could be published, and the relay would say so as well.
    const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
    await redis.config('SET', 'maxmemory', String(Math.round(used * 1.15)));
    expect((await examine()).found).toEqual(['redis.appendonly', 'redis.memory']);
  });

  test('a hole in a channel, and what is said heals it', async () => {
    await redis.xdel(keys.stream('attacker'), '5-0', '6-0');
    const { code, found, results } = await examine();
    expect([code, found]).toEqual([failed.code, ['contiguity.hole']]);
    const [finding] = results.at(-1)?.findings ?? [];
    expect(finding?.text).toStartWith('attacker: 5 to 6 missing');
    expect(finding?.advice).toContain(`XTRIM '${keys.stream('attacker')}' MINID 7-0`);
    await redis.xtrim(keys.stream('attacker'), 'MINID', '7-0');
    expect((await examine()).found).toEqual([]);
  });

  test('a hole at the end, a stream that is gone, one that nobody counts', async () => {
    await publish(node, token, 'identity.formed');
    await redis.xdel(keys.stream('attacker'), '12-0');
    await redis.del(keys.stream('identity'));
    await redis.xadd(keys.stream('nobody'), '1-0', 'a', 'b');
    const { found } = await examine();
    expect(found.sort()).toEqual(['contiguity.deleted', 'contiguity.hole', 'contiguity.uncounted']);
  });

  test('an event that is not the one that was numbered, and a chain that breaks', async () => {
    const [, , third] = await redis.xrange(keys.stream('attacker'), '-', '+');
    const fields = third?.[1] ?? [];
    // Written anew behind the others under their numbers: a Redis whose history somebody has put together by hand.
    await redis.xtrim(keys.stream('attacker'), 'MAXLEN', 0);
    await redis.del(keys.stream('attacker'));
    // <before> <proof> <bytes> <revision> <id> <topic>
    const other = fields.map((value, index) =>
      fields[index - 1] === 'chain' ? value.split(' ').with(4, 'forged').join(' ') : value,
    );
    await redis.xadd(keys.stream('attacker'), '11-0', ...fields);
    await redis.xadd(keys.stream('attacker'), '12-0', ...other);
    const { found } = await examine();
    expect(found).toEqual(['contiguity.changed', 'contiguity.chain', 'contiguity.head']);
  });

  test('no hole where history is trimmed', async () => {
    await redis.xtrim(keys.stream('attacker'), 'MINID', '6-0');
    await redis.xtrim(keys.stream('log'), 'MAXLEN', 0);
    expect((await examine()).found).toEqual([]);
  });

  test('groups of a node that is no more, and a lease that has ended', async () => {
    await redis.xgroup('CREATE', keys.stream('attacker'), 'sse:gone:c1', '0');
    await redis.xgroup('CREATE', keys.stream('attacker'), 'hooks', '0');
    const { code, found, results } = await examine();
    expect([code, found]).toEqual([failed.code, ['groups.orphan']]);
    expect(results[4]?.findings[0]?.advice).toBe(`XGROUP DESTROY '${keys.stream('attacker')}' 'sse:gone:c1'`);
  });

  test('a Redis that does not answer, and goes on with what does', async () => {
    await plane.redis.pause();
    const { code, results } = await examine();
    plane.redis.resume();
    expect([code, results.map(({ status }) => status)]).toEqual([unreachable.code, ['unknown', 'ok']]);
  });

  test('events that wait for no relay, and a log that is not the one that the database knows', async () => {
    await Promise.all([caller.stop(), plane.stop()]);
    plane = await createPlane();
    caller = await Caller.create({ REDIS_URL: plane.redis.url, DATABASE_URL: plane.database.url });
    await plane.database.db.insertInto('log_witness').values({ epoch: 'other', log_offset: 7, proof: '0' }).execute();
    await plane.redis.client().hset(keys.meta, 'epoch', 'this');
    await plane.database.db
      .insertInto('outbox')
      .values({ ...ROW, event_id: 'e1', ts: 1 })
      .execute();
    expect((await examine()).found).toEqual(['nodes.none', 'relay.lag', 'relay.leader', 'relay.witness']);
  });

  test('migrations that are missing, and a database of a newer version', async () => {
    const { db } = plane.database;
    await plane.database.db
      .deleteFrom('kysely_migration' as 'leases')
      .where('name', '=', '010-substrate-fences')
      .execute();
    await db
      .insertInto('kysely_migration' as 'leases')
      .values({ name: '999-later', timestamp: new Date().toISOString() } as never)
      .execute();
    const { found, results } = await examine();
    expect(found).toEqual(['database.migrations', 'database.newer']);
    expect(results[1]?.findings[0]?.text).toContain('010-substrate-fences');
  });
});

describe('an embedded Redis', () => {
  let data: string;
  beforeEach(async () => {
    await start();
    data = await mkdtemp(join(tmpdir(), 'decnet-doctor-'));
    closing.push(() => rm(data, { recursive: true, force: true }));
  });

  const look = () => examine([], { REDIS_URL: '', DECNET_DATA_DIR: data });

  test('is neither started nor made where none runs', async () => {
    for (const folder of [join(data, 'nowhere'), data]) {
      const { code, results } = await examine([], { REDIS_URL: '', DECNET_DATA_DIR: folder });
      expect([code, results[0]?.status]).toEqual([unreachable.code, 'unknown']);
    }
    expect(existsSync(join(data, 'nowhere'))).toBe(false);
    await mkdir(join(data, 'redis'));
    expect((await look()).results[0]?.unknown[0]).toContain('does not run');
    expect(await readdir(join(data, 'redis'))).toEqual([]);
  });

  test('is looked at while its node owns the folder', async () => {
    const server = await startEmbeddedRedis(data, quiet);
    closing.push(() => server.stop());
    const { found, results } = await look();
    expect(results[0]).toMatchObject({ check: 'redis', status: 'ok' });
    expect(found).toContain('nodes.none');
    expect(results.every(({ status }) => status !== 'unknown')).toBe(true);
  });

  test('a database that is not there is not made', async () => {
    const path = join(data, 'none.sqlite');
    const { code, results } = await examine([], { DATABASE_URL: `sqlite:${path}` });
    expect([code, results[1]?.status, existsSync(path)]).toEqual([unreachable.code, 'unknown', false]);
  });
});

describe('a node that is far away', () => {
  beforeEach(() => start());

  test('tells what it can, more to administrators', async () => {
    const args = ['--url', node.url];
    expect(await caller.run(['doctor', ...args], { env: { DECNET_TOKEN: token } })).toEqual({
      code: 0,
      out: '',
      err: '',
    });
    const stranger = await examine(args);
    expect([stranger.code, stranger.results.map(({ status }) => status)]).toEqual([
      unreachable.code,
      ['ok', 'unknown'],
    ]);
    await plane.redis.down();
    const broken = await examine(args, { DECNET_TOKEN: token });
    expect(broken.code).toBe(failed.code);
    expect(broken.found).toContain('ready.redis');
    await plane.redis.up();
  });

  test('is said to be unreachable when nobody answers', async () => {
    const { code, results } = await examine(['--url', 'http://127.0.0.1:1']);
    expect([code, results[0]?.status]).toEqual([unreachable.code, 'unknown']);
  });
});
