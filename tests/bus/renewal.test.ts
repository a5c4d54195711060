import { afterEach, expect, test } from 'bun:test';
import { Renewal, type RenewalOptions } from '../../src/bus/renewal.ts';
import { until } from '../support/until.ts';

const open: Renewal[] = [];
afterEach(() => Promise.all(open.splice(0).map((renewal) => renewal.stop())));

function renewing(renew: RenewalOptions['renew'], onError?: (error: unknown) => void): Renewal {
  const renewal = new Renewal({ leaseMs: 6, renew, ...(onError === undefined ? {} : { onError }) });
  open.push(renewal);
  return renewal;
}

/** Until another one has been renewed several times since. */
async function afterAWhile(): Promise<void> {
  let times = 0;
  renewing(async () => (times += 1));
  await until('another one to be renewed', () => times > 5);
}

test('goes on for as long as it is wanted, and not a moment longer', async () => {
  let times = 0;
  const renewal = renewing(async () => (times += 1));
  await until('some renewals', () => times > 3);
  await renewal.stop();
  const atEnd = times;
  await afterAWhile();
  expect(times).toBe(atEnd);
});

test('goes on after a failure, and tells of it', async () => {
  const errors: unknown[] = [];
  let times = 0;
  renewing(
    async () => {
      times += 1;
      if (times < 3) throw new Error(`away ${times}`);
    },
    (error) => errors.push(error),
  );
  await until('a renewal after the failures', () => times > 3);
  expect(errors).toEqual([new Error('away 1'), new Error('away 2')]);
});

test('ends when what it renews is lost: it cannot come back', async () => {
  let times = 0;
  renewing(async () => {
    times += 1;
    return times < 2;
  });
  await until('the loss', () => times === 2);
  await afterAWhile();
  expect(times).toBe(2);
});

test('asks one at a time however long an answer takes, and its end waits for the answer', async () => {
  const answer = Promise.withResolvers<void>();
  let [times, isOver] = [0, false];
  const renewal = renewing(() => {
    times += 1;
    return answer.promise;
  });
  await until('the first', () => times === 1);
  await afterAWhile();
  const joined = renewal.now();
  const stopped = renewal.stop().then(() => {
    isOver = true;
  });
  await afterAWhile();
  expect({ times, isOver }).toEqual({ times: 1, isOver: false });
  answer.resolve();
  await Promise.all([joined, stopped]);
});
