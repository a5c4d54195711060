import { describe, expect, test } from 'bun:test';
import type { Framing } from '../../src/stream/framing.ts';
import { Hub, type Member } from '../../src/stream/hub.ts';
import { jsonFraming } from '../../src/stream/json-framing.ts';
import { sseFraming } from '../../src/stream/sse-framing.ts';
import type { View } from '../../src/stream/view.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { until } from '../support/until.ts';
import { batch, EPOCH, view } from './support.ts';

const LINGER_MS = 30_000;
const CROWD = 5000;

/** Work of so many milliseconds, as a write to a socket is. */
function busyFor(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

/** A connection that only listens. */
class Listener implements Member {
  readonly view: View;
  readonly framing: Framing;
  batches = 0;
  reconnects = 0;
  readonly breaks: string[] = [];
  onTold = () => {};

  constructor(shown: View = view(), framing: Framing = sseFraming) {
    this.view = shown;
    this.framing = framing;
  }

  /** Told of one batch or of several at once. */
  onBatch(): void {
    this.batches += 1;
    this.onTold();
  }

  onBreak(epoch: string): void {
    this.breaks.push(epoch);
    this.onTold();
  }

  onReconnect(): void {
    this.reconnects += 1;
  }
}

describe('the hub', () => {
  test('keeps what is seen through one view apart for each framing, and together for all of the same one', () => {
    const hub = new Hub(10_000);
    const [sse, json, other] = [new Listener(), new Listener(view(), jsonFraming), new Listener(view(), jsonFraming)];
    const [inSse, inJson, inOther] = [sse, json, other].map((member) => hub.join(member));
    expect(inJson).not.toBe(inSse);
    expect(inOther).toBe(inJson);
    hub.onBatch(batch(1, 3));
    hub.leave(sse);
    hub.leave(json);
    hub.onBatch(batch(4, 5));
    expect([inSse, inJson].map((window) => window?.range?.last)).toEqual([5, 5]);
  });

  test('forgets at once what a client put together for itself, and keeps what others may come back to', () => {
    const hub = new Hub(10_000);
    const [own, common] = [new Listener(view({ key: 'own', filtered: true })), new Listener()];
    const windows = [hub.join(own), hub.join(common)];
    hub.leave(own);
    hub.leave(common);
    hub.onBatch(batch(1, 3));
    expect(windows.map((window) => window.range?.last)).toEqual([undefined, 3]);
  });

  test('tells every member of a channel of its batches, and no other', async () => {
    const hub = new Hub(10_000);
    const [first, second] = [new Listener(), new Listener()];
    const elsewhere = new Listener(view({ channel: 'identity' }));
    for (const member of [first, second, elsewhere]) hub.join(member);
    hub.onBatch(batch(1, 3));
    expect([first.batches, second.batches]).toEqual([1, 1]);
    hub.onBatch(batch(4, 4));
    await until('the second batch', () => first.batches === 2 && second.batches === 2);
    expect(elsewhere.batches).toBe(0);
  });

  test('has the batch in the window before anybody is told', () => {
    const hub = new Hub(10_000);
    const member = new Listener();
    const window = hub.join(member);
    let seen: unknown;
    member.onTold = () => {
      seen = window.range;
    };
    hub.onBatch(batch(1, 3));
    expect(seen).toEqual({ first: 1, last: 3 });
  });

  test('tells whether a batch of a channel may have come in between, of however many channels', () => {
    const hub = new Hub(100_000);
    const { channel } = batch(1, 1);
    const [quiet, busy] = [hub.markOf('quiet'), hub.markOf(channel)];
    hub.onBatch(batch(1, 3));
    expect(hub.markOf(channel)).not.toBe(busy);
    expect(hub.markOf('quiet')).toBe(quiet);
    const before = hub.markOf(channel);
    for (let n = 0; n < 6000; n += 1) hub.onBatch({ ...batch(1, 1), channel: `topology.t${n}` });
    // It is no longer known when the last one came: that is no reason to believe that none has.
    hub.onBatch(batch(4, 5));
    for (let n = 0; n < 6000; n += 1) hub.onBatch({ ...batch(2, 2), channel: `topology.t${n}` });
    expect(hub.markOf(channel)).not.toBe(before);
    expect(hub.markOf('quiet')).not.toBe(quiet);
  });

  test('misses no batch from the moment of joining', async () => {
    const hub = new Hub(100_000);
    hub.join(new Listener());
    hub.onBatch(batch(1, 3));
    const late = new Listener();
    expect(hub.join(late).range).toEqual({ first: 1, last: 3 });
    hub.onBatch(batch(4, 5));
    await until('the batch', () => late.batches === 1);
    expect(hub.join(new Listener()).range).toEqual({ first: 1, last: 5 });
  });

  test('encodes once for each view, however many look through it', () => {
    const hub = new Hub(10_000);
    const members = [new Listener(), new Listener(), new Listener(view({ key: 'other' }))];
    const [first, second, other] = members.map((member) => hub.join(member));
    expect(second === first).toBe(true);
    expect(other === first).toBe(false);
  });

  test('keeps to the bytes that it may hold', () => {
    const hub = new Hub(0);
    const window = hub.join(new Listener());
    hub.onBatch(batch(1, 3));
    hub.onBatch(batch(4, 5));
    expect(window.range).toEqual({ first: 4, last: 5 });
  });

  test('lets members leave while they are being told', async () => {
    const hub = new Hub(10_000);
    const members = Array.from({ length: 4 }, () => new Listener());
    const witness = new Listener(view({ channel: 'identity' }));
    hub.join(witness);
    for (const member of members) {
      hub.join(member);
      member.onTold = () => hub.leave(member);
    }
    hub.onBatch(batch(1, 1));
    hub.onBatch(batch(2, 2));
    hub.onBatch(batch(1, 1, EPOCH, 'identity'));
    await until('a later one', () => witness.batches === 1);
    expect(members.map(({ batches }) => batches)).toEqual([1, 1, 1, 1]);
  });

  test('a member that leaves twice, or never joined, disturbs nobody', () => {
    const hub = new Hub(10_000);
    const [member, stranger] = [new Listener(), new Listener(view({ channel: 'identity' }))];
    hub.join(member);
    hub.leave(member);
    hub.leave(member);
    hub.leave(stranger);
    hub.onBatch(batch(1, 1));
    expect(member.batches).toBe(0);
  });
});

describe('a break', () => {
  test('empties every window at once and reaches every member of every channel', async () => {
    const hub = new Hub(10_000);
    const members = [new Listener(), new Listener(view({ key: 'other' })), new Listener(view({ channel: 'identity' }))];
    const windows = members.map((member) => hub.join(member));
    hub.onBatch(batch(1, 3));
    const ranges: unknown[] = [];
    for (const member of members) member.onTold = () => ranges.push(...windows.map(({ range }) => range).slice(0, 1));
    hub.onBreak('next');
    expect(windows.map(({ range }) => range)).toEqual([undefined, undefined, undefined]);
    await until('everyone to be told', () => members.every(({ breaks }) => breaks.length > 0));
    expect(members.map(({ breaks }) => breaks)).toEqual([['next'], ['next'], ['next']]);
    expect(ranges).toEqual([undefined, undefined, undefined]);
    expect(hub.epoch).toBe('next');
  });

  test('comes before what follows it, for everyone, also for those who have not been told of what came before', async () => {
    const hub = new Hub(1000);
    const told: string[][] = [];
    let hasFollowed = false;
    for (const number of Array(CROWD).keys()) {
      const mine: string[] = [];
      told.push(mine);
      const member = new Listener();
      member.onTold = () => {
        busyFor(0.01);
        mine.push(`${member.batches} ${member.breaks.length}`);
        if (number === 0 && mine.length === 1) queueMicrotask(() => hub.onBreak('next'));
        if (number !== 10 || member.breaks.length === 0 || hasFollowed) return;
        hasFollowed = true;
        queueMicrotask(() => hub.onBatch(batch(1, 1, 'next')));
      };
      hub.join(member);
    }
    hub.onBatch(batch(1, 1));
    await until('all to be told of what followed', () =>
      told.every((mine) => mine.at(-1)?.endsWith(' 1') && mine.length > 1),
    );
    // Either the first batch, the break, the second; or only the last two.
    for (const mine of told) expect(mine).toEqual(mine.length === 3 ? ['1 0', '1 1', '2 1'] : ['0 1', '1 1']);
    expect(told.some((mine) => mine.length === 2)).toBe(true);
  });

  test('of the connection is told to everyone before or with what follows it, and never lost', async () => {
    const hub = new Hub(10_000);
    const members = Array.from({ length: CROWD }, () => new Listener());
    for (const member of members) {
      hub.join(member);
      member.onTold = () => busyFor(0.01);
    }
    hub.onBatch(batch(1, 1));
    hub.onReconnect();
    hub.onBatch(batch(2, 2));
    await until('everyone', () => members.every(({ batches, reconnects }) => batches > 0 && reconnects > 0));
    expect(members.every(({ reconnects }) => reconnects === 1)).toBe(true);
  });

  test('is told once with the newest epoch when another comes before everyone has heard of it', async () => {
    const hub = new Hub(1000);
    const members = Array.from({ length: CROWD }, () => new Listener());
    for (const member of members) {
      hub.join(member);
      member.onTold = () => busyFor(0.01);
    }
    hub.onBreak('first');
    hub.onBreak('second');
    await until('everyone to know', () => members.every(({ breaks }) => breaks.at(-1) === 'second'));
    expect(members.some(({ breaks }) => breaks.length === 1)).toBe(true);
    expect(members.every(({ breaks }) => breaks.length <= 2)).toBe(true);
  });

  test('the epoch is that of what came last', () => {
    const hub = new Hub(10_000);
    expect(hub.epoch).toBe('');
    hub.onBreak('first');
    expect(hub.epoch).toBe('first');
    hub.onBatch(batch(1, 1));
    expect(hub.epoch).toBe(EPOCH);
  });
});

describe('a crowd on one channel', () => {
  /** Each of them takes a while to serve, so that all of them take many slices. */
  function crowd(hub: Hub, size: number): Listener[] {
    return Array.from({ length: size }, () => {
      const member = new Listener();
      member.onTold = () => busyFor(0.01);
      hub.join(member);
      return member;
    });
  }
  const served = (members: readonly Listener[]) => members.filter(({ batches }) => batches > 0).length;

  test('has been served in part when a small channel gets its event', async () => {
    const hub = new Hub(1000);
    const members = crowd(hub, CROWD);
    const small = new Listener(view({ channel: 'identity' }));
    hub.join(small);
    let atThatTime = CROWD;
    small.onTold = () => {
      atThatTime = served(members);
    };
    hub.onBatch(batch(1, 1));
    hub.onBatch(batch(1, 1, EPOCH, 'identity'));
    await until('everyone', () => served(members) === CROWD);
    expect(small.batches).toBe(1);
    expect(atThatTime).toBeLessThan(CROWD / 2);
  });

  test('lets everything else run in between', async () => {
    const hub = new Hub(1000);
    const members = crowd(hub, CROWD);
    const seen: number[] = [];
    const server = Bun.serve({
      port: 0,
      fetch() {
        seen.push(served(members));
        return new Response();
      },
    });
    const keepAsking = async () => {
      while (served(members) < CROWD) await fetch(server.url);
    };
    await fetch(server.url); // Connected: what is compared is the waiting for an answer.
    hub.onBatch(batch(1, 1));
    await keepAsking();
    await server.stop(true);
    // Requests were answered while some had been served and others had not.
    expect(seen.filter((count) => count > 0 && count < CROWD).length).toBeGreaterThan(2);
  });

  test('gets all that has come meanwhile at once when it is late', async () => {
    const hub = new Hub(100_000);
    const members = crowd(hub, CROWD);
    const [first, last] = [members[0], members.at(-1)];
    for (let offset = 1; offset <= 50; offset += 1) hub.onBatch(batch(offset, offset));
    const windowOfAll = hub.join(new Listener());
    await until('the last one', () => last?.batches !== 0);
    expect(windowOfAll.range).toEqual({ first: 1, last: 50 });
    await until('the first one again', () => first?.batches === 2);
    await until('everyone to be done', () => members.every(({ batches }) => batches > 0));
    expect(Math.max(...members.map(({ batches }) => batches))).toBeLessThanOrEqual(2);
  });

  test('is served although one of them throws each time', async () => {
    const lines: string[] = [];
    const hub = new Hub(
      1000,
      createLog('error', (line) => lines.push(line)),
    );
    const members = crowd(hub, 100);
    for (const member of members.slice(10, 20)) {
      member.onTold = () => {
        throw new Error('this one is broken');
      };
    }
    hub.onBatch(batch(1, 1));
    await until('everyone', () => served(members) === 100);
    hub.onBreak('next');
    await until('everyone again', () => members.every(({ breaks }) => breaks.length === 1));
    // Said once a round, not once a member.
    expect(lines.filter((line) => line.includes('this one is broken'))).toHaveLength(2);
  });

  test('whose view cannot encode a batch is told to look into the log, and others get theirs', async () => {
    const lines: string[] = [];
    const hub = new Hub(
      1000,
      createLog('error', (line) => lines.push(line)),
    );
    const broken = view({
      key: 'broken',
      eventName: () => {
        throw new Error('no name for this');
      },
    });
    const [poor, good] = [new Listener(broken), new Listener()];
    for (const member of [poor, good]) hub.join(member);
    hub.onBatch(batch(1, 1));
    await until('both', () => poor.breaks.length === 1 && good.batches === 1);
    expect([poor.batches, good.breaks]).toEqual([0, []]);
    expect(lines.join()).toContain('no name for this');
  });
});

describe('sweeping', () => {
  test('keeps a window for those who come back soon, and forgets it later', () => {
    const hub = new Hub(10_000);
    const member = new Listener();
    const window = hub.join(member);
    hub.onBatch(batch(1, 3));
    hub.leave(member);
    const left = performance.now();
    hub.sweep(left + LINGER_MS - 100);
    hub.onBatch(batch(4, 5));
    const back = new Listener();
    expect(hub.join(back)).toBe(window);
    expect(window.range).toEqual({ first: 1, last: 5 });
    hub.leave(back);
    hub.sweep(performance.now() + LINGER_MS + 100);
    expect(hub.join(new Listener()).range).toBeUndefined();
  });

  test('never takes the window of a member, however long it has been quiet', () => {
    const hub = new Hub(10_000);
    const [gone, staying] = [new Listener(), new Listener()];
    hub.join(gone);
    const window = hub.join(staying);
    hub.leave(gone);
    hub.sweep(performance.now() + 100 * LINGER_MS);
    expect(hub.join(new Listener())).toBe(window);
    hub.onBatch(batch(1, 1));
    expect(staying.batches).toBe(1);
  });
});
