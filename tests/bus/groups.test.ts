import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import type { Entry } from '../../src/bus/entry.ts';
import { type Group, GroupGoneError, Groups } from '../../src/bus/groups.ts';
import { keys } from '../../src/bus/keys.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { quiet } from '../support/database.ts';
import { until } from '../support/until.ts';
import { type Bus, createBus, idsOf, offsetsOf, publication, publications, upTo } from './support.ts';

let bus: Bus;
beforeAll(async () => {
  bus = await createBus();
});
beforeEach(() => bus.redis.flushall());
afterAll(() => bus.stop());

const LONG_MS = 60_000;
const SHORT_MS = 30;

function createGroups(node = 'n1', leaseMs = LONG_MS): Groups {
  const replay = [bus.server.client(), bus.server.client()];
  return new Groups(node, bus.redis, replay, { leaseMs });
}

/** Names of the groups that Redis has on a channel's stream. */
async function groupNames(channel = 'identity'): Promise<string[]> {
  const groups = await bus.redis.xinfo('GROUPS', keys.stream(channel)).catch(() => []);
  return Array.isArray(groups) ? groups.map((fields) => String(fields[1])).sort() : [];
}

/** Where it stands is only what sizes are counted from. */
const read = (groups: Groups, group: Group, events: number, offset = 0) =>
  groups.read(group, offset, { events, bytes: 1_000_000 });

async function readAll(groups: Groups, group: Group, count: number) {
  const found: Entry[] = [];
  for (;;) {
    const entries = await read(groups, group, count, found.at(-1)?.offset);
    if (entries.length === 0) return found;
    found.push(...entries);
  }
}

describe('a group', () => {
  test.each([0, 1, 4, 10])('opened at %i reads everything after it, in order, and then nothing', async (offset) => {
    const batch = publications(10);
    await bus.log.publish(batch);
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', offset);
    const entries = await readAll(groups, group, 3);
    expect(offsetsOf(entries)).toEqual(upTo(10, offset + 1));
    expect(idsOf(entries)).toEqual(batch.slice(offset).map(({ event }) => event.id));
    expect(await read(groups, group, 3)).toEqual([]);
  });

  test('reads at most as many as asked for', async () => {
    await bus.log.publish(publications(10));
    const groups = createGroups();
    expect(await read(groups, await groups.open('c1', 'identity', 0), 4)).toHaveLength(4);
  });

  test('gets what is published later, also on a stream that did not exist', async () => {
    await bus.log.position('identity'); // As a connection does first; it mints the epoch.
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    expect(await read(groups, group, 10)).toEqual([]);
    await bus.log.publish(publications(2));
    expect(offsetsOf(await read(groups, group, 10))).toEqual([1, 2]);
  });

  test('leaves no pending entries: the acknowledgement is the Last-Event-ID of the client', async () => {
    await bus.log.publish(publications(10));
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    await readAll(groups, group, 3);
    expect(await bus.redis.xpending(keys.stream('identity'), group.name)).toEqual([0, null, null, null]);
    // The control: the same read without NOACK leaves them.
    await groups.moveTo(group, 0);
    await bus.redis.xreadgroup('GROUP', group.name, 'c', 'COUNT', 3, 'STREAMS', keys.stream('identity'), '>');
    expect(await bus.redis.xpending(keys.stream('identity'), group.name)).toContain(3);
  });

  test('moves back and forth', async () => {
    await bus.log.publish(publications(6));
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    await read(groups, group, 10);
    await groups.moveTo(group, 2);
    expect(offsetsOf(await read(groups, group, 2))).toEqual([3, 4]);
    await groups.moveTo(group, 5);
    expect(offsetsOf(await read(groups, group, 10))).toEqual([6]);
  });

  test('opened again is moved, not refused', async () => {
    await bus.log.publish(publications(6));
    const groups = createGroups();
    await groups.open('c1', 'identity', 5);
    const group = await groups.open('c1', 'identity', 2);
    expect(offsetsOf(await read(groups, group, 1))).toEqual([3]);
    expect(await groupNames()).toEqual([group.name]);
  });

  test('is that of one connection of one node: others read the same events', async () => {
    await bus.log.publish(publications(3));
    const [here, there] = [createGroups('n1'), createGroups('n2')];
    const opened = [
      [here, await here.open('c1', 'identity', 0)],
      [here, await here.open('c2', 'identity', 0)],
      [there, await there.open('c1', 'identity', 0)],
    ] as const;
    for (const [groups, group] of opened) expect(offsetsOf(await read(groups, group, 10))).toEqual([1, 2, 3]);
  });

  test('does not keep events from being trimmed, and shows the hole by its offsets', async () => {
    await bus.log.publish(publications(5));
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    await bus.redis.xtrim(keys.stream('identity'), 'MINID', '4-0');
    expect(offsetsOf(await read(groups, group, 10))).toEqual([4, 5]);
  });

  test('closed is gone from Redis together with its registration; closing again is harmless', async () => {
    await bus.log.publish(publications(1));
    const groups = createGroups();
    const [first, second] = [await groups.open('c1', 'identity', 0), await groups.open('c2', 'identity', 0)];
    await groups.close(first);
    await groups.close(first);
    expect(await groupNames()).toEqual([second.name]);
    expect(await bus.redis.scard(keys.groups('n1'))).toBe(1);
    await bus.redis.flushall();
    await groups.close(second);
    expect(await bus.redis.exists(keys.groups('n1'))).toBe(0);
  });
});

describe('a group that is gone', () => {
  const disasters: readonly [string, () => Promise<unknown>][] = [
    ['after FLUSHALL', () => bus.redis.flushall()],
    ['with its stream', () => bus.redis.del(keys.stream('identity'))],
    [
      'with a stream that began again',
      async () => {
        await bus.redis.flushall();
        await bus.log.publish(publications(1));
      },
    ],
    ['by the hand of a reaper', () => bus.redis.xgroup('DESTROY', keys.stream('identity'), 'sse:n1:c1')],
  ];

  test.each(disasters)('%s is told by every call, and can be opened again', async (_when, disaster) => {
    await bus.log.publish(publications(3));
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 2);
    await disaster();
    await expect(read(groups, group, 10)).rejects.toBeInstanceOf(GroupGoneError);
    await expect(groups.moveTo(group, 2)).rejects.toBeInstanceOf(GroupGoneError);
    await bus.log.position('identity');
    const again = await groups.open('c1', 'identity', 0);
    await bus.log.publish(publications(1));
    expect((await read(groups, again, 10)).length).toBeGreaterThan(0);
  });

  test('is reported by the checkpoint, which moves the others', async () => {
    await bus.log.publish(publications(9));
    const groups = createGroups();
    const open = (id: string) => groups.open(id, 'identity', 0);
    const [a, gone, c] = [await open('a'), await open('b'), await open('c')];
    await bus.redis.xgroup('DESTROY', keys.stream('identity'), gone.name);
    const reported = await groups.checkpoint([a, gone, c].map((group, index) => ({ group, offset: 5 + index })));
    expect(reported).toEqual([gone]);
    expect(offsetsOf(await read(groups, a, 1, 5))).toEqual([6]);
    expect(offsetsOf(await read(groups, c, 1, 7))).toEqual([8]);
    expect(await groups.checkpoint([])).toEqual([]);
  });

  test('is not what another failure looks like', async () => {
    const groups = createGroups();
    const group = await groups.open('c1', 'identity', 0);
    await bus.redis.set(keys.stream('identity'), 'not a stream');
    await expect(read(groups, group, 1)).rejects.toThrow('WRONGTYPE');
    await expect(groups.moveTo(group, 1)).rejects.toThrow('WRONGTYPE');
  });
});

describe('the groups of a node', () => {
  /** A node with a group on each of two channels. */
  async function node(name: string, leaseMs: number): Promise<Groups> {
    const groups = createGroups(name, leaseMs);
    await groups.renew();
    await groups.open('c1', 'identity', 0);
    await groups.open('c2', 'topology.t1', 0);
    return groups;
  }

  test('are destroyed when its lease has ended, and only those', async () => {
    await bus.log.publish([...publications(2), publication('topology.t1.status')]);
    const alive = await node('alive', LONG_MS);
    await node('dead', SHORT_MS);
    await until('the dead node to be found', async () => (await alive.reap(quiet)).includes('dead'));
    expect(await groupNames('identity')).toEqual(['sse:alive:c1']);
    expect(await groupNames('topology.t1')).toEqual(['sse:alive:c2']);
    expect(await bus.redis.exists(keys.groups('dead'))).toBe(0);
    expect(await bus.redis.zrange(keys.nodes, '0', '-1')).toEqual(['alive']);
    expect(await alive.reap(quiet)).toEqual([]);
  });

  test('live on while it renews its lease', async () => {
    const [watcher, renewed] = [await node('watcher', LONG_MS), await node('renewed', SHORT_MS)];
    // Far beyond the first lease by the clock of Redis, which alone decides.
    const start = Number((await bus.redis.time())[0]) * 1000 + Number((await bus.redis.time())[1]) / 1000;
    await until('several leases to pass', async () => {
      await renewed.renew();
      expect(await watcher.reap(quiet)).toEqual([]);
      const [seconds, micros] = await bus.redis.time();
      return Number(seconds) * 1000 + Number(micros) / 1000 - start > 4 * SHORT_MS;
    });
    expect(await groupNames('identity')).toEqual(['sse:renewed:c1', 'sse:watcher:c1']);
  });

  test('whose streams are gone already are cleared all the same', async () => {
    const watcher = createGroups('watcher');
    await node('dead', SHORT_MS);
    await bus.redis.del(keys.stream('identity'), keys.stream('topology.t1'));
    await until('the dead node to be found', async () => (await watcher.reap(quiet)).includes('dead'));
    expect(await bus.redis.exists(keys.groups('dead'))).toBe(0);
  });

  test('that stops in good order are gone at once, and nobody has to reap it', async () => {
    const [staying, leaving] = [await node('staying', LONG_MS), await node('leaving', LONG_MS)];
    await leaving.retire();
    expect(await groupNames('identity')).toEqual(['sse:staying:c1']);
    expect(await bus.redis.zrange(keys.nodes, '0', '-1')).toEqual(['staying']);
    expect(await staying.reap(quiet)).toEqual([]);
  });

  /** What a reaper's log is told, in order; `onLine` runs between the end of one node and the next. */
  function reaperLog(onLine: () => void = () => {}) {
    const lines: Record<string, unknown>[] = [];
    const log = createLog('debug', (line) => {
      lines.push(JSON.parse(line));
      onLine();
    });
    return { log, lines };
  }

  /** Waits until the leases of all these have ended by the clock of Redis. */
  const untilExpired = (...nodes: string[]) =>
    until('the leases to end', async () => {
      const [seconds, micros] = await bus.redis.time();
      const now = Number(seconds) * 1000 + Number(micros) / 1000;
      const ends = await bus.redis.zmscore(keys.nodes, ...nodes);
      return ends.every((end) => Number(end) < now);
    });

  test('that revives after it was found dead are left alone: its lease is asked again in the same step', async () => {
    const watcher = createGroups('watcher');
    await node('dead', SHORT_MS);
    await untilExpired('dead');
    const slept = await node('slept', SHORT_MS);
    await untilExpired('slept');
    // Both were found dead; commands of one connection run in order, so this renewal is between the two.
    const renewals: Promise<boolean>[] = [];
    const { log } = reaperLog(() => renewals.push(createGroups('slept', LONG_MS).renew()));
    expect(await watcher.reap(log)).toEqual(['dead']);
    await Promise.all(renewals);
    expect(await groupNames('identity')).toEqual(['sse:slept:c1']);
    const group = { name: 'sse:slept:c2', channel: 'topology.t1' };
    expect(await slept.checkpoint([{ group, offset: 0 }])).toEqual([]);
    await slept.retire();
    expect(await groupNames('identity')).toEqual([]);
  });

  test('that were destroyed before it revived are opened again, and reaped even if it dies before it renews', async () => {
    const watcher = createGroups('watcher');
    const revived = await node('revived', SHORT_MS);
    await untilExpired('revived');
    expect(await watcher.reap(quiet)).toEqual(['revived']);
    const lost = { name: 'sse:revived:c1', channel: 'identity' };
    expect(await revived.checkpoint([{ group: lost, offset: 0 }])).toEqual([lost]);
    expect(await revived.open('c1', 'identity', 0)).toEqual(lost);
    expect(await groupNames('identity')).toEqual(['sse:revived:c1']);
    await untilExpired('revived');
    expect(await watcher.reap(quiet)).toEqual(['revived']);
    expect(await groupNames('identity')).toEqual([]);
  });

  test('are destroyed to the last one when they are more than one command takes', async () => {
    const crowded = createGroups('crowded', SHORT_MS);
    const many = Array.from({ length: 1201 }, (_, index) => crowded.open(`c${index}`, 'identity', 0));
    await Promise.all(many);
    await untilExpired('crowded');
    const { log, lines } = reaperLog();
    expect(await createGroups('watcher').reap(log)).toEqual(['crowded']);
    expect(lines).toMatchObject([{ node: 'crowded', groups: 1201 }]);
    expect(await groupNames('identity')).toEqual([]);
    expect(await bus.redis.exists(keys.groups('crowded'), keys.nodes)).toBe(0);
  });
});
