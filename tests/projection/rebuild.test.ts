import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { createEvent } from '../../src/bus/event.ts';
import { beginClearing, FencedOff, findStanding, moveOn, standingOf } from '../../src/projection/places.ts';
import { lagOf } from '../../src/projection/projections.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { knownPlace, projectedSnapshot } from '../../src/projection/snapshot.ts';
import { allProjections } from '../../src/projection/start.ts';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { createStage, dump, type Stage, someEvents } from './support.ts';

const LIMIT_MS = 60_000;
const NODE = join(import.meta.dir, 'rebuilding-node.ts');

let stage: Stage;
afterEach(() => stage.stop());

const count = async (table: 'logs' | 'attackers' | 'projection_events') => {
  const rows = stage.database.db.selectFrom(table).select((eb) => eb.fn.countAll<number>().as('rows'));
  return (await rows.executeTakeFirstOrThrow()).rows;
};

/** Runs one that dies after so many of its transactions. */
async function killed(name: string, steps: number): Promise<void> {
  const child = Bun.spawn([process.execPath, NODE, stage.database.url, stage.server.url, name, `${steps}`], {
    env: process.env,
    stdout: 'ignore',
    stderr: 'inherit',
  });
  await child.exited;
  expect(child.signalCode).toBe('SIGKILL');
}

const projection = (name: string) => {
  const found = allProjections(stage.engine).find((one) => one.name === name);
  if (found === undefined) throw new Error(`no projection ${name}`);
  return found;
};

for (const engine of ENGINES) {
  describe(`a rebuild (${engine})`, () => {
    test(
      'that is killed between two of its steps is ended by whoever leads, or by another call; the rows are the same again',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        await stage.publish(someEvents(900, seeded(29).next));
        const first = await stage.node();
        await stage.caughtUp();
        await first.stop();
        const rows = await dump(db);
        const lines = await count('logs');
        for (const [name, steps] of [
          ['logs', 1],
          ['attackers', 1],
        ] as const) {
          await killed(name, steps);
        }
        // Some of it is gone, and not all.
        expect(await count('logs')).toBeWithin(1, lines);
        const lags = await lagOf(db, stage.eventLog, allProjections(engine));
        expect(lags.find(({ name }) => name === 'logs')?.state).toBe('clearing');
        expect(lags.find(({ name }) => name === 'campaigns')?.state).toBe('current');
        await rebuild(db, stage.history, allProjections(engine), 'attackers');
        expect(await count('attackers')).toBe(0);
        // The other one is found by whoever leads.
        await stage.node();
        await stage.caughtUp();
        expect(await dump(db)).toEqual(rows);
        const after = await lagOf(db, stage.eventLog, allProjections(engine));
        expect(after.map(({ state }) => state)).toEqual(after.map(() => 'current'));
      },
      LIMIT_MS,
    );

    test(
      'removes rows a few at a time, and what it remembered of events, too',
      async () => {
        stage = await createStage(engine);
        await stage.publish(
          Array.from({ length: 900 }, (_, n) =>
            createEvent('system.log', 'x', { decky: 'web-1', raw_line: `line ${n}` }),
          ),
        );
        const node = await stage.node();
        await stage.caughtUp();
        await node.stop();
        const left: number[] = [];
        const pending: Promise<void>[] = [];
        await rebuild(stage.database.db, stage.history, allProjections(engine), 'logs', {
          onStep: () => void pending.push(count('logs').then((rows) => void left.push(rows))),
        });
        await Promise.all(pending);
        // A hundred first, then twice as many at most.
        expect(left.length).toBeGreaterThan(3);
        expect(left[0]).toBe(800);
        expect(left.at(-1)).toBe(0);
        const remembered = await stage.database.db
          .selectFrom('projection_events')
          .select('event_id')
          .where('projection', '=', 'logs')
          .execute();
        expect(remembered).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      'under way: nobody moves the projection on, and nobody takes its rows for those of a place',
      async () => {
        stage = await createStage(engine);
        const { db } = stage.database;
        const logs = projection('logs');
        // Whoever has just begun stands where a rebuild begins.
        const standing = standingOf(await findStanding(db, logs));
        await db.transaction().execute((trx) => beginClearing(trx, logs));
        const to = { ...standing, epoch: 'e1', offset: 1, proof: 'p' };
        const moved = db.transaction().execute((trx) => moveOn(trx, logs, standing, to));
        await expect(moved).rejects.toBeInstanceOf(FencedOff);
        const opened = projectedSnapshot(db, 'logs', 'system', async () => ({}));
        await expect(opened).rejects.toMatchObject({ code: 'unavailable' });
        const known = db.transaction().execute((trx) => knownPlace(trx, 'logs', 'system'));
        await expect(known).rejects.toMatchObject({ code: 'unavailable' });
      },
      LIMIT_MS,
    );
  });
}
