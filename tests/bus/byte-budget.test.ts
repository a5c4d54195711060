import { expect, test } from 'bun:test';
import { ByteBudget } from '../../src/bus/byte-budget.ts';
import { seeded } from '../support/random.ts';

/** Work that ends when the test says so. */
function workshop(budget: ByteBudget) {
  const running = new Map<string, () => void>();
  return {
    running: () => [...running.keys()],
    begin: (name: string, bytes: number, fails = false) =>
      budget
        .run(bytes, async () => {
          await new Promise<void>((resolve) => running.set(name, resolve));
          if (fails) throw new Error(name);
        })
        .catch(() => {}),
    async end(name: string): Promise<void> {
      running.get(name)?.();
      running.delete(name);
      for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    },
  };
}

test('work begins while it fits, first come, first served: what is small does not overtake', async () => {
  const { begin, end, running } = workshop(new ByteBudget(10));
  for (const [name, bytes] of Object.entries({ a: 4, b: 6, c: 8, d: 1, e: 1 })) void begin(name, bytes);
  expect(running()).toEqual(['a', 'b']);
  await end('a');
  expect(running()).toEqual(['b']);
  await end('b');
  expect(running()).toEqual(['c', 'd', 'e']);
});

test('what is larger than the whole budget goes alone, and what fails gives back what it took', async () => {
  const { begin, end, running } = workshop(new ByteBudget(10));
  void begin('a', 1, true);
  void begin('large', 99);
  void begin('b', 1);
  expect(running()).toEqual(['a']);
  await end('a');
  expect(running()).toEqual(['large']);
  await end('large');
  expect(running()).toEqual(['b']);
});

test('whatever comes, never more is under way than fits, and all of it ends', async () => {
  const random = seeded(5);
  const [budget, most] = [new ByteBudget(100), 100];
  let [underWay, done] = [0, 0];
  const work = Array.from({ length: 500 }, () => random.between(1, 130));
  await Promise.all(
    work.map((bytes) =>
      budget.run(bytes, async () => {
        const taken = Math.min(bytes, most);
        underWay += taken;
        expect(underWay).toBeLessThanOrEqual(most);
        for (let turn = random.between(0, 5); turn > 0; turn -= 1) await Promise.resolve();
        underWay -= taken;
        done += 1;
      }),
    ),
  );
  expect({ underWay, done }).toEqual({ underWay: 0, done: work.length });
});
