import { describe, expect, test } from 'bun:test';
import { createEvent } from '../../src/bus/event.ts';
import type { Publication, Published } from '../../src/bus/event-log.ts';
import { Publisher } from '../../src/bus-socket/publisher.ts';
import { newStats } from '../../src/bus-socket/stats.ts';
import { upTo } from '../bus/support.ts';
import { quiet } from '../support/database.ts';
import { until } from '../support/until.ts';

/** A log that answers a call when the test says so, and how. */
function heldLog() {
  const calls: { readonly publications: readonly Publication[]; answer(error?: Error): void }[] = [];
  return {
    calls,
    publish(publications: readonly Publication[]) {
      const answer = Promise.withResolvers<Published[]>();
      calls.push({
        publications,
        answer: (error) => (error === undefined ? answer.resolve([]) : answer.reject(error)),
      });
      return answer.promise;
    },
  };
}

function createPublisher() {
  const [log, stats] = [heldLog(), newStats()];
  const tailBegun = Promise.resolve();
  const publisher = new Publisher({ events: log, logger: quiet, stats, tailBegun, onProgress: () => {} });
  const add = (...numbers: number[]) => {
    for (const n of numbers) publisher.add(createEvent('a.b', '', { n }), 100);
    publisher.flush();
  };
  const call = (index: number) => until(`call ${index}`, () => log.calls[index]);
  const numbersOf = ({ publications }: Awaited<ReturnType<typeof call>>) =>
    publications.map(({ event }) => event.payload.n);
  return { log, stats, publisher, add, call, numbersOf };
}

describe('what a connection publishes', () => {
  test('goes one call after the other, what has come meanwhile together', async () => {
    const { log, stats, publisher, add, call, numbersOf } = createPublisher();
    add(1);
    const first = await call(0);
    add(2);
    add(3, 4);
    add(...upTo(300, 5));
    expect(log.calls).toHaveLength(1);
    first.answer();
    const second = await call(1);
    expect(numbersOf(second)).toEqual(upTo(129, 2));
    expect(log.calls).toHaveLength(2);
    second.answer();
    (await call(2)).answer();
    const last = await call(3);
    expect(numbersOf(last)).toEqual(upTo(300, 258));
    last.answer();
    await until('the end', () => publisher.isIdle);
    expect(stats.published).toBe(300);
    expect(publisher.heldBytes).toBe(0);
  });

  test('goes again under the same ids when the answer is lost, before all that came later', async () => {
    const { publisher, add, call, numbersOf } = createPublisher();
    add(1, 2);
    const first = await call(0);
    add(3);
    first.answer(new Error('no answer'));
    const again = await call(1);
    add(4);
    expect(again.publications.map(({ event }) => event.id)).toEqual(first.publications.map(({ event }) => event.id));
    again.answer();
    const next = await call(2);
    expect(numbersOf(next)).toEqual([3, 4]);
    next.answer();
    await until('the end', () => publisher.isIdle);
  });

  test('is counted as lost once it is given up, and goes no more', async () => {
    const { log, stats, publisher, add, call } = createPublisher();
    add(1, 2);
    const first = await call(0);
    add(3);
    publisher.giveUp();
    first.answer(new Error('no answer'));
    await until('the end', () => publisher.isIdle);
    expect(stats.lost).toBe(3);
    expect(log.calls).toHaveLength(1);
  });
});
