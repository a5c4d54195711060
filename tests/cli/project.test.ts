import { afterEach, beforeEach, expect, test } from 'bun:test';
import { createStage, dump, type Stage, someEvents } from '../projection/support.ts';
import { seeded } from '../support/random.ts';
import { Caller } from './support.ts';

const LIMIT_MS = 60_000;

let stage: Stage;
let caller: Caller;
beforeEach(async () => {
  stage = await createStage('sqlite');
  caller = await Caller.create({ DATABASE_URL: stage.database.url, REDIS_URL: stage.server.url });
});
afterEach(async () => {
  await caller.stop();
  await stage.stop();
});

test(
  'shows how far the projections are, and rebuilds one beside a node that projects',
  async () => {
    await stage.publish(someEvents(80, seeded(3).next));
    await stage.node();
    await stage.caughtUp();
    const rows = await dump(stage.database.db);
    const shown = await caller.run(['project', '--json']);
    expect(shown.code).toBe(0);
    const lags = shown.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lags.map(({ name, state }) => `${name} ${state}`)).toContain('logs current');
    expect((await caller.run(['project'])).out).toContain('campaigns');

    expect(await caller.run(['project', '--rebuild', 'logs'])).toMatchObject({ code: 0 });
    await stage.caughtUp();
    expect(await dump(stage.database.db)).toEqual(rows);

    const unknown = await caller.run(['project', '--rebuild', 'nothing']);
    expect(unknown.code).toBe(1);
    expect(unknown.err).toContain('there are: logs, attackers');
  },
  LIMIT_MS,
);
