import { describe, expect, test } from 'bun:test';
import { Hub, type Member } from '../../src/stream/hub.ts';
import type { View } from '../../src/stream/view.ts';
import { batch, EPOCH, view } from './support.ts';

const LINGER_MS = 30_000;

/** A connection that only listens. */
class Listener implements Member {
  readonly view: View;
  batches = 0;
  reconnects = 0;
  readonly breaks: string[] = [];
  onTold = () => {};

  constructor(shown: View = view()) {
    this.view = shown;
  }

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
  test('forgets at once what a client put together for itself, and keeps what others may come back to', () => {
    const hub = new Hub(10_000);
    const [own, common] = [new Listener(view({ key: 'own', filtered: true })), new Listener()];
    const windows = [hub.join(own), hub.join(common)];
    hub.leave(own);
    hub.leave(common);
    hub.onBatch(batch(1, 3));
    expect(windows.map((window) => window.range?.last)).toEqual([undefined, 3]);
  });

  test('tells every member of a channel of its batches, and no other', () => {
    const hub = new Hub(10_000);
    const [first, second] = [new Listener(), new Listener()];
    const elsewhere = new Listener(view({ channel: 'identity' }));
    for (const member of [first, second, elsewhere]) hub.join(member);
    hub.onBatch(batch(1, 3));
    hub.onBatch(batch(4, 4));
    expect([first.batches, second.batches, elsewhere.batches]).toEqual([2, 2, 0]);
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

  test('misses no batch from the moment of joining', () => {
    const hub = new Hub(100_000);
    hub.join(new Listener());
    hub.onBatch(batch(1, 3));
    const late = new Listener();
    expect(hub.join(late).range).toEqual({ first: 1, last: 3 });
    hub.onBatch(batch(4, 5));
    expect(late.batches).toBe(1);
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

  test('lets members leave while they are being told', () => {
    const hub = new Hub(10_000);
    const members = Array.from({ length: 4 }, () => new Listener());
    for (const member of members) {
      hub.join(member);
      member.onTold = () => hub.leave(member);
    }
    hub.onBatch(batch(1, 1));
    hub.onBatch(batch(2, 2));
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
  test('empties every window and reaches every member of every channel', () => {
    const hub = new Hub(10_000);
    const members = [new Listener(), new Listener(view({ key: 'other' })), new Listener(view({ channel: 'identity' }))];
    const windows = members.map((member) => hub.join(member));
    hub.onBatch(batch(1, 3));
    const ranges: unknown[] = [];
    for (const member of members) member.onTold = () => ranges.push(...windows.map(({ range }) => range).slice(0, 1));
    hub.onBreak('next');
    expect(members.map(({ breaks }) => breaks)).toEqual([['next'], ['next'], ['next']]);
    expect(windows.map(({ range }) => range)).toEqual([undefined, undefined, undefined]);
    expect(ranges).toEqual([undefined, undefined, undefined]);
    expect(hub.epoch).toBe('next');
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
