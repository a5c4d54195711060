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

  test.each(Object.keys(SABOTAGES) as Sabotage[])(
    'negative control: without the %s the same run fails',
    async (without) => {
      const problems = await runChaos(7, 0, without).then((report) => report.problems, String);
      expect(problems).not.toEqual([]);
    },
    LIMIT_MS,
  );
});
