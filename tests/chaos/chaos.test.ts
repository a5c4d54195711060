import { describe, expect, test } from 'bun:test';
import { DRILLS, type Drill } from './drills.ts';
import type { Report } from './report.ts';
import { SABOTAGES, type Sabotage } from './server.ts';
import { Storm, type StormOptions } from './storm.ts';

// Another sequence: CHAOS_SEED=42 bun test tests/chaos
const SEED = Number(process.env.CHAOS_SEED ?? 20_261_121);
const LIMIT_MS = 120_000;
const ALL_DRILLS = Object.keys(DRILLS) as Drill[];

/** What each run without a protection must be found guilty of, and in which story. */
const GUILT: Readonly<Record<Sabotage, readonly [Drill, RegExp]>> = {
  'gap check': ['trimmed while away', /was left out|does not continue|stands at/],
  'epoch check': ['flushed while away', /another epoch is the reason|does not continue/],
  'proof check': ['restored while away', /does not continue|is not in the log|stands at/],
  'revision in the cursor': ['snapshot ahead of the log', /though the snapshot contained it/],
  'window check': ['fallen behind', /was left out|does not continue/],
  'tail check': ['begun anew under their eyes', /stands at/],
  'witness check': ['state lost while away', /does not show identity/],
  'back-pressure of sockets': ['fallen behind', /was left out|does not continue|without saying so|says to follow/],
};

/** A bounded storm: what `bun run storm` does for as long as one likes. */
async function storm(options: Partial<StormOptions>): Promise<Report> {
  const run = new Storm({
    ...{ seed: SEED, database: 'sqlite', nodes: 3, clients: 12, goesOn: (round) => round < 1, faultsPerRound: 6 },
    ...{ haste: 5, recoveryMs: 30_000, mostViolations: 5, drills: [] },
    ...options,
  });
  try {
    return await run.run();
  } finally {
    await run.stop();
  }
}

describe('chaos', () => {
  test.each(['sqlite', 'postgres'] as const)(
    'nobody is misled, whatever breaks (%s)',
    async (database) => {
      const report = await storm({ database, drills: database === 'sqlite' ? ALL_DRILLS : [] });
      expect(report.violations).toEqual([]);
      expect(report.events.acknowledged).toBeGreaterThan(0);
      expect(report.tally.resumes).toBeGreaterThan(0);
    },
    LIMIT_MS,
  );

  test.each(Object.entries(GUILT))(
    'negative control: without the %s somebody is',
    async (without, [drill, guilt]) => {
      const { violations } = await storm({
        ...{ without: without as Sabotage, drills: [drill], goesOn: () => false },
        ...{ nodes: 2, clients: 10, recoveryMs: 5000, mostViolations: 1 },
      });
      expect(violations.join('; ')).toMatch(guilt);
    },
    LIMIT_MS,
  );

  test('each protection has its control', () => {
    expect(Object.keys(GUILT)).toEqual(Object.keys(SABOTAGES));
  });
});
