import { describe, expect, test } from 'bun:test';
import { runChaos } from './scenario.ts';
import { SABOTAGES, type Sabotage } from './server.ts';

// Another sequence: CHAOS_SEED=42 bun test tests/chaos
const SEEDS = process.env.CHAOS_SEED === undefined ? [1, 20_261_121] : [Number(process.env.CHAOS_SEED)];
const STEPS = 150;
const LIMIT_MS = 120_000;

describe('chaos', () => {
  test.each(SEEDS)(
    'nothing is lost, repeated or out of order between resets (seed %d)',
    async (seed) => {
      const report = await runChaos(seed, STEPS);
      expect(report.problems).toEqual([]);
      expect(report.published).toBeGreaterThan(500);
      expect(report.resumes).toBeGreaterThan(0);
      expect(report.resets).toBeGreaterThan(0);
    },
    LIMIT_MS,
  );

  /** What each run without a protection must be found guilty of. */
  const GUILT: readonly (readonly [Sabotage, RegExp])[] = [
    ['gap check', /was left out/],
    ['epoch check', /carries another event|is not in the log|instead of the cursor|of another epoch|was left out/],
    ['window check', /was left out/],
    ['tail check', /stands at/],
  ];

  test.each(GUILT)(
    'negative control: without the %s the same run fails',
    async (without, guilt) => {
      const problems = await runChaos(7, 0, without).then((report) => report.problems.join('; '), String);
      expect(problems).toMatch(guilt);
    },
    LIMIT_MS,
  );

  test('each protection has its control', () => {
    expect(GUILT.map(([name]) => name)).toEqual(Object.keys(SABOTAGES) as Sabotage[]);
  });
});
