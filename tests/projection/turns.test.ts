import { expect, test } from 'bun:test';
import { Turns } from '../../src/projection/turns.ts';

/** Holds up the event loop, as a transaction of SQLite does. */
function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** How many turns of the event loop others get while so many pieces of work are done. */
async function turnsOfOthers(turns: Turns, pieces: number): Promise<number> {
  let others = 0;
  let isOver = false;
  const other = () => {
    others += 1;
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  for (let piece = 0; piece < pieces; piece += 1) await turns.take(async () => block(5));
  isOver = true;
  return others;
}

test('work that blocks the process rests, so that others have more turns than it', async () => {
  expect(await turnsOfOthers(new Turns('sqlite'), 10)).toBeGreaterThan(50);
});

test('where nobody else is served it goes on at once, a turn apart', async () => {
  expect(await turnsOfOthers(new Turns('sqlite', true), 10)).toBeLessThan(50);
});

test('pieces that block go one after the other, also when one fails', async () => {
  const turns = new Turns('sqlite');
  const order: string[] = [];
  const piece = (name: string) =>
    turns.take(async () => {
      order.push(`${name} begins`);
      await Promise.resolve();
      order.push(`${name} ends`);
      if (name === 'a') throw new Error('a fails');
    });
  const all = await Promise.allSettled([piece('a'), piece('b')]);
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  expect(order).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
});
