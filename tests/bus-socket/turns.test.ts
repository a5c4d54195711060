import { expect, test } from 'bun:test';
import { Turns } from '../../src/bus-socket/turns.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { until } from '../support/until.ts';

test('tasks take turns, and everything else has its own in between', async () => {
  const turns = new Turns(createLog('error', () => {}));
  // More than fits into any turn; a loop that never ended could not fail.
  const most = 20_000_000;
  let [endless, other, hadItsTurn] = [0, 0, false];
  turns.add({
    step: () => {
      endless += 1;
      return !hadItsTurn && endless < most;
    },
  });
  turns.add({
    step: () => {
      other += 1;
      return other < 3;
    },
  });
  setImmediate(() => setImmediate(() => (hadItsTurn = true)));
  await until('the end', () => hadItsTurn && other === 3);
  expect(endless).toBeLessThan(most);
});

test('a task that fails is told of and costs the others nothing', async () => {
  const lines: string[] = [];
  const turns = new Turns(createLog('error', (line) => lines.push(line)));
  let done = 0;
  turns.add({
    step: () => {
      throw new Error('a mistake');
    },
  });
  turns.add({
    step: () => {
      done += 1;
      return done < 2;
    },
  });
  await until('the other one', () => done === 2);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('a mistake');
});
