import { describe, expect, test } from 'bun:test';
import { Gate } from '../../src/ws/gate.ts';

describe('the gate', () => {
  test('asks once for all who came before it asks, and again for who comes while it does', async () => {
    let questions = 0;
    const answers: (() => void)[] = [];
    const gate = new Gate(() => {
      questions += 1;
      return new Promise((resolve) => {
        answers.push(resolve);
      });
    });
    const passed: number[] = [];
    const pass = (n: number) => gate.pass().then(() => passed.push(n));
    const first = [pass(1), pass(2)];
    while (questions === 0) await new Promise((resolve) => setImmediate(resolve));
    // What that question finds may be older than this one.
    const late = pass(3);
    answers[0]?.();
    await Promise.all(first);
    expect(passed).toEqual([1, 2]);
    while (questions === 1) await new Promise((resolve) => setImmediate(resolve));
    answers[1]?.();
    await late;
    expect([passed, questions]).toEqual([[1, 2, 3], 2]);
  });

  test('lets nobody pass whose question failed, and asks anew for the next', async () => {
    let isOpen = false;
    const gate = new Gate(async () => {
      if (!isOpen) throw new Error('ended');
    });
    const outcomes = await Promise.allSettled([gate.pass(), gate.pass()]);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    isOpen = true;
    await gate.pass();
  });
});
