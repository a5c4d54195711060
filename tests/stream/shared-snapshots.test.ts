import { describe, expect, test } from 'bun:test';
import { AppError } from '../../src/errors.ts';
import { SharedSnapshots } from '../../src/stream/shared-snapshots.ts';
import type { Snapshot } from '../../src/stream/snapshot.ts';
import { until } from '../support/until.ts';

/** A state that is read by hand: each read waits for the test to let it see the state of that moment. */
function createSource() {
  let state = 0;
  const open: { key: string; end: (failure?: Error) => void }[] = [];
  let begun = 0;
  let most = 0;
  return {
    change: () => (state += 1),
    begun: () => begun,
    /** Reads that were under way at once, at most. */
    most: () => most,
    open,
    read(key: string): () => Promise<Snapshot> {
      return () => {
        begun += 1;
        // As early as a database could see it.
        const seen = state;
        const { promise, resolve, reject } = Promise.withResolvers<Snapshot>();
        const entry = {
          key,
          end: (failure?: Error) => {
            open.splice(open.indexOf(entry), 1);
            if (failure) reject(failure);
            else resolve({ revision: seen, data: { key, text: 'ä\n' } });
          },
        };
        open.push(entry);
        most = Math.max(most, open.length);
        return promise;
      };
    },
  };
}

/** Lets everything happen that needs no one else. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('shared snapshots', () => {
  test('a thousand that ask at once share one read and its bytes', async () => {
    const [source, shared] = [createSource(), new SharedSnapshots()];
    const asked = Array.from({ length: 1000 }, () => shared.read('a', source.read('a')));
    await until('the read', () => source.open.length === 1);
    source.open[0]?.end();
    const [first, ...others] = await Promise.all(asked);
    expect(source.begun()).toBe(1);
    expect(first?.revision).toBe(0);
    expect(new TextDecoder().decode(first?.data)).toBe('{"key":"a","text":"ä\\n"}');
    expect(others.every((other) => other.data === first?.data)).toBe(true);
  });

  test('who asks while a read is under way gets the next one: it sees what was there when it asked', async () => {
    const [source, shared] = [createSource(), new SharedSnapshots()];
    const early = shared.read('a', source.read('a'));
    await until('the first read', () => source.open.length === 1);
    source.change();
    const late = [shared.read('a', source.read('a')), shared.read('a', source.read('a'))];
    await settled();
    // Not beside it: one is under way, one waits.
    expect(source.begun()).toBe(1);
    source.open[0]?.end();
    expect((await early).revision).toBe(0);
    await until('the second read', () => source.open.length === 1);
    source.open[0]?.end();
    expect((await Promise.all(late)).map(({ revision }) => revision)).toEqual([1, 1]);
    expect(source.begun()).toBe(2);
  });

  test('never hands out what is older than the question, however reads and changes are mixed', async () => {
    const [source, shared] = [createSource(), new SharedSnapshots({ maxRunning: 2 })];
    const answers: Promise<{ asked: number; got: number }>[] = [];
    for (let step = 0; step < 300; step += 1) {
      const key = 'abcd'[step % 4] ?? 'a';
      const asked = source.change();
      answers.push(shared.read(key, source.read(key)).then(({ revision }) => ({ asked, got: revision })));
      if (step % 3 === 0) await settled();
      if (step % 5 === 0) source.open[step % 2]?.end();
    }
    let open = true;
    const all = Promise.all(answers).finally(() => {
      open = false;
    });
    while (open) {
      source.open[0]?.end();
      await settled();
    }
    const early = (await all).filter(({ asked, got }) => got < asked);
    expect(early).toEqual([]);
    expect(source.begun()).toBeLessThan(300);
    expect(source.most()).toBeLessThanOrEqual(2);
  });

  test('reads so many different ones at once and no more, in the order of the questions', async () => {
    const [source, shared] = [createSource(), new SharedSnapshots()];
    const keys = Array.from({ length: 2000 }, (_, index) => `t${index}`);
    const asked = keys.flatMap((key) => [shared.read(key, source.read(key)), shared.read(key, source.read(key))]);
    const order: string[] = [];
    for (let done = 0; done < keys.length; done += 1) {
      await until('a read', () => source.open.length > 0);
      order.push(source.open[0]?.key ?? '');
      source.open[0]?.end();
    }
    await Promise.all(asked);
    expect(source.most()).toBe(8);
    expect(source.begun()).toBe(2000);
    expect(order).toEqual(keys);
  });

  test('a busy key does not starve the others', async () => {
    const [source, shared] = [createSource(), new SharedSnapshots({ maxRunning: 1 })];
    const answers = [shared.read('busy', source.read('busy'))];
    await until('a read', () => source.open.length === 1);
    answers.push(shared.read('quiet', source.read('quiet')), shared.read('busy', source.read('busy')));
    source.open[0]?.end();
    await until('another', () => source.open.length === 1);
    expect(source.open[0]?.key).toBe('quiet');
    source.open[0]?.end();
    await until('the last', () => source.open.length === 1);
    source.open[0]?.end();
    await Promise.all(answers);
  });

  test('a failure goes to all who shared the read, and to nobody after them', async () => {
    const [source, shared] = [createSource(), new SharedSnapshots()];
    const failing = [shared.read('a', source.read('a')), shared.read('a', source.read('a'))];
    await until('the read', () => source.open.length === 1);
    const next = shared.read('a', source.read('a'));
    source.open[0]?.end(new Error('no database'));
    const outcomes = await Promise.allSettled(failing);
    expect(outcomes.map((outcome) => outcome.status === 'rejected' && String(outcome.reason))).toEqual([
      'Error: no database',
      'Error: no database',
    ]);
    await until('the next read', () => source.open.length === 1);
    source.open[0]?.end();
    expect((await next).revision).toBe(0);
  });

  test('one that throws before it begins to read fails like any other', async () => {
    const shared = new SharedSnapshots();
    const failing = shared.read('a', () => {
      throw new Error('at once');
    });
    await expect(failing).rejects.toThrow('at once');
    const { revision } = await shared.read('a', async () => ({ revision: 3, data: {} }));
    expect(revision).toBe(3);
  });

  test('reads that hang end by themselves, and their places are free again', async () => {
    const shared = new SharedSnapshots({ maxRunning: 1, limitMs: 20 });
    const hanging = shared.read('a', () => new Promise(() => {}));
    const behind = shared.read('b', async () => ({ revision: 1, data: {} })).catch((error: unknown) => error);
    await expect(hanging).rejects.toBeInstanceOf(AppError);
    await behind;
    expect((await shared.read('a', async () => ({ revision: 7, data: {} }))).revision).toBe(7);
  });
});
