import { afterEach, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { readStats } from '../../src/logs/stats.ts';
import { rebuild } from '../../src/projection/rebuild.ts';
import { allProjections } from '../../src/projection/start.ts';
import { ENGINES } from '../support/database.ts';
import { seeded } from '../support/random.ts';
import { until } from '../support/until.ts';
import { createStage, dump, type Stage, someEvents } from './support.ts';

const LIMIT_MS = 60_000;
const NODE = join(import.meta.dir, 'projecting-node.ts');

let stage: Stage;
const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await child.exited;
  }
  await stage.stop();
});

/** A process that projects, until it is killed. */
function spawn(): Bun.Subprocess {
  const child = Bun.spawn([process.execPath, NODE, stage.database.url, stage.server.url], {
    env: process.env,
    stdout: 'ignore',
    stderr: 'inherit',
  });
  children.push(child);
  return child;
}

const counted = async (name: string) => {
  const row = await stage.database.db
    .selectFrom('projections')
    .select('log_offset')
    .where('name', '=', name)
    .executeTakeFirst();
  return row?.log_offset ?? 0;
};

for (const engine of ENGINES) {
  describe(`rows follow the log exactly (${engine})`, () => {
    test(
      'though processes that write them are killed wherever they are',
      async () => {
        stage = await createStage(engine);
        const { next: random } = seeded(7);
        let published = 0;
        for (let round = 0; round < 4; round += 1) {
          const child = spawn();
          await stage.publish(someEvents(250, random, published));
          published += 250;
          const target = published - 250 + Math.floor(random() * 250);
          await until('some progress', async () => (await counted('logs')) >= target, 20_000);
          child.kill('SIGKILL');
          await child.exited;
          // Another one need not wait until its lease has ended.
          await stage.database.db.deleteFrom('leases').execute();
        }
        await stage.node();
        await stage.caughtUp();
        expect(await dump(stage.database.db)).toEqual(await stage.recount());
      },
      LIMIT_MS,
    );

    test(
      'with two nodes that take the lead from each other again and again; and a rebuild makes the same rows',
      async () => {
        stage = await createStage(engine);
        const { next: random } = seeded(11);
        await stage.node();
        await stage.node();
        for (let round = 0; round < 8; round += 1) {
          await stage.publish(someEvents(60, random, round * 60));
          // Whoever asks next leads; who led goes on believing that he does.
          await stage.database.db.deleteFrom('leases').execute();
        }
        await stage.caughtUp();
        const rows = await dump(stage.database.db);
        expect(rows).toEqual(await stage.recount());
        expect(await stage.database.db.selectFrom('projection_set_aside').selectAll().execute()).toEqual([]);
        // The lines are counted once more, by hand.
        const lines = await stage.database.db.selectFrom('logs').selectAll().execute();
        const { total_logs, unique_attackers } = await readStats(stage.database.db);
        expect(total_logs).toBe(lines.length);
        expect(unique_attackers).toBe(new Set(lines.map(({ attacker_ip }) => attacker_ip)).size);

        for (const { name } of allProjections(engine)) {
          await rebuild(stage.database.db, stage.history, allProjections(engine), name);
        }
        await stage.caughtUp();
        expect(await dump(stage.database.db)).toEqual(rows);
      },
      LIMIT_MS,
    );
  });
}
