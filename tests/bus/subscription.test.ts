import { expect, test } from 'bun:test';
import type { Batch } from '../../src/bus/entry.ts';
import { listeners, subscription } from '../../src/bus/subscription.ts';
import type { TailListener } from '../../src/bus/tail.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { FIRST } from '../stream/support.ts';

const entries = [1, 2, 3].map((offset) => ({
  offset,
  id: `e${offset}`,
  topic: 'a.b',
  data: '{}',
  ...FIRST,
  revision: 0,
}));
const batch: Batch = { epoch: 'e', channel: 'log', first: 1, last: 3, entries };

test('a listener that throws costs the others nothing, and the log says what was being done', () => {
  const lines: string[] = [];
  const heard: string[] = [];
  const good = (name: string): TailListener => ({
    onBatch: ({ last }) => heard.push(`${name} ${last}`),
    onBreak: (epoch) => heard.push(`${name} ${epoch}`),
  });
  const bad: TailListener = {
    onBatch() {
      throw new Error('out of order');
    },
    onBreak() {
      throw 'bare';
    },
  };
  const all = listeners(
    [bad, good('first'), bad, good('last')],
    createLog('debug', (line) => lines.push(line)),
  );
  all.onBatch(batch);
  all.onBreak('next');
  expect(heard).toEqual(['first 3', 'last 3', 'first next', 'last next']);
  const logged = lines.map((line) => JSON.parse(line));
  expect(logged.map(({ level, doing, error }) => [level, doing, error])).toEqual([
    ['error', 'telling events of log', 'out of order'],
    ['error', 'telling events of log', 'out of order'],
    ['error', 'telling a break', 'bare'],
    ['error', 'telling a break', 'bare'],
  ]);
});

test('a subscriber that fails at one event hears the rest of the batch, and its failure is not kept quiet', () => {
  const heard: number[] = [];
  const listener = subscription(
    ['a.>'],
    ({ offset }) => {
      heard.push(offset);
      if (offset < 3) throw new Error(`not ${offset}`);
    },
    () => {},
  );
  expect(() => listener.onBatch(batch)).toThrow('not 1; not 2');
  expect(heard).toEqual([1, 2, 3]);
});
